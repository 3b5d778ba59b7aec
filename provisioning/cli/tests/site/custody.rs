//! A custodian alone with files: what is shown, what is sealed, what is remembered, and what is refused
//! by name before anything is sealed.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use casemate_formats::{
    anchors::Anchors,
    bundle::{Bundle, Verified, body::Label},
    digest::Digest,
    share::{
        Share, ShareFile,
        age::{self, parse_recipient},
        exchange::{RecoveryRequest, SealedShare},
        seal::{Binding, BootKey, Contents, open},
        split::combine,
    },
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use serde_json::{Value, json};

use crate::{
    box_in_software::{SECTIONS, authenticode},
    firmware_log::FirmwareLog,
    workbench::{Said, Workbench},
};

const ROOT: [u8; 32] = [0x5a; 32];
const CUSTODIANS: [&str; 3] = ["ann", "bob", "cyd"];

/// A site with a root in force under bundle 2, and the boot of a box that asks for it.
struct Scene {
    bench: Workbench,
    second: Verified,
    boot: BootKey,
}

impl Scene {
    fn new() -> Self {
        let bench = Workbench::ready();
        let first = bench.signed();
        bench.write_answer(&first, bench.answer(&first, &ROOT));
        for name in CUSTODIANS {
            let identity = format!("{name}.age");
            let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity"];
            bench.good(&[&ack[..], &[&identity]].concat());
        }
        bench.good(&["bundle", "new", "--site", "site"]);
        let second = bench.signed();
        let boot = BootKey::generate(&mut UnwrapErr(SysRng));
        let mut scene = Self { bench, second, boot };
        scene.bench.spoken.claims.phase = "locked".into();
        scene.bench.spoken.claims.hpke_key = scene.boot.public();
        scene.bench.spoken.claims.bundle = scene.second.digest();
        scene
    }

    fn asked(&self) -> RecoveryRequest {
        self.asked_under(self.second.envelope().to_vec())
    }

    fn asked_under(&self, envelope: Vec<u8>) -> RecoveryRequest {
        let anchors = fs::read(self.bench.path("site/anchors")).unwrap();
        let label = |name| Label::parse(name).unwrap();
        RecoveryRequest::new(
            (label("example"), label("alpha")),
            anchors,
            envelope,
            self.bench.spoken.request(),
        )
    }

    /// Under another bundle, which the box says is in force.
    fn under(&mut self, bundle: &Bundle, signers: &[&str]) -> RecoveryRequest {
        self.bench.spoken.claims.bundle = bundle.digest();
        self.asked_under(self.bench.envelope(bundle, signers))
    }

    fn write(&self, asked: &RecoveryRequest) {
        let text = serde_json::to_string(asked).unwrap();
        fs::write(self.bench.path("alpha.request"), text).unwrap();
    }

    fn seal(&self, asked: &RecoveryRequest, name: &str, more: &[&str]) -> Said {
        self.write(asked);
        let (share, identity) = (share(name), format!("{name}.age"));
        let out = format!("{name}.sealed");
        let seal = ["share", "seal", "alpha.request", "--share", &share, "--identity", &identity];
        self.bench.casemate(&[&seal[..], &["-o", &out, "--yes"], more].concat())
    }

    /// Refused by this name; nothing was sealed and nothing was changed.
    fn refused(&self, asked: &RecoveryRequest, code: &str) -> Said {
        let before = fs::read(self.bench.path(share("ann"))).unwrap();
        let said = self.seal(asked, "ann", &[]);
        assert_eq!((said.code, said.refusal()), (1, code), "{}", said.raw);
        assert!(said.json["failure"]["next"].is_string(), "{}", said.raw);
        assert!(!self.bench.path("ann.sealed").exists(), "{code}");
        assert!(fs::read(self.bench.path(share("ann"))).unwrap() == before, "{code}");
        said
    }

    fn open(&self, name: &str) -> Share {
        let sealed = fs::read(self.bench.path(format!("{name}.sealed"))).unwrap();
        let sealed = SealedShare::parse(&sealed).unwrap();
        let bundle = self.second.bundle();
        let host = self.bench.spoken.host();
        let binding = Binding {
            namespace: &bundle.site.namespace,
            root_section: bundle.root_digest(),
            ek: &host.ek,
            bundle: self.second.digest(),
        };
        match open(&self.boot, &binding, &sealed.message.sealed) {
            Ok(Contents::Share(share)) => share,
            _ => panic!("{name}'s share does not open at the boot"),
        }
    }

    fn kept(&self, name: &str) -> ShareFile {
        ShareFile::decode(&self.bench.age(name, &share(name))).unwrap()
    }
}

fn share(name: &str) -> String {
    format!("example-1-1-{name}.share.age")
}

#[test]
fn k_sealed_shares_open_the_root_at_the_boot_that_asked_and_nowhere_else() {
    let scene = Scene::new();
    for name in ["ann", "cyd"] {
        let said = scene.seal(&scene.asked(), name, &[]);
        assert_eq!(said.code, 0, "{}", said.raw);
        assert_eq!(said.json["custodian"], name);
        assert_eq!(said.json["signers"].as_array().unwrap().len(), 2);
        assert_eq!((&said.json["seq"], &said.json["seen"]), (&json!(2), &json!(1)));
        assert!(said.json["changes"].to_string().contains("root 1 is there"), "{}", said.raw);
        let kept = scene.kept(name);
        assert!(kept.bundle == scene.second.envelope(), "what was seen last is remembered");
        assert!(kept.anchors == fs::read(scene.bench.path("site/anchors")).unwrap());
    }
    let shares = [scene.open("ann"), scene.open("cyd")];
    assert!(*combine(&shares).unwrap() == ROOT);
    // Again, later: the same bundle, nothing new.
    let again = scene.seal(&scene.asked(), "ann", &[]);
    assert_eq!((&again.json["seen"], &again.json["changes"]), (&json!(2), &json!([])));
    let other = BootKey::generate(&mut UnwrapErr(SysRng));
    let sealed = SealedShare::parse(&fs::read(scene.bench.path("ann.sealed")).unwrap()).unwrap();
    let (bundle, digest) = (scene.second.bundle(), scene.second.digest());
    assert!(sealed.message.is_for(&scene.boot.public(), bundle, &digest).is_ok());
    assert!(sealed.message.is_for(&other.public(), bundle, &digest).is_err());
}

#[test]
fn a_person_is_asked_and_what_is_shown_names_site_box_image_bundle_and_signers() {
    let scene = Scene::new();
    scene.write(&scene.asked());
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["share", "seal", "alpha.request", "--share", &share("ann")])
        .args(["--identity", "ann.age", "-o", "ann.sealed"])
        .current_dir(scene.bench.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("needs-confirmation") && !scene.bench.path("ann.sealed").exists());
    for expected in [
        "site       example",
        "box        alpha, EK ",
        "image      ",
        "bundle     2, issued ",
        "signed by  SHA256:",
        "share      ann's of root 1 (split 1; any 2 of 3 open it)",
        "since bundle 1, which you saw last:",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}

#[test]
fn older_and_forked_bundles_are_refused_by_what_the_share_file_remembers() {
    let mut scene = Scene::new();
    let mut third = scene.second.bundle().clone();
    third.site.seq = 3;
    let asked = scene.under(&third, &["ann", "bob"]);
    assert_eq!(scene.seal(&asked, "ann", &[]).code, 0);
    fs::remove_file(scene.bench.path("ann.sealed")).unwrap();
    let mut fork = third.clone();
    fork.service.port += 1;
    let forked = scene.under(&fork, &["ann", "bob"]);
    scene.refused(&forked, "seq-fork");
    let second = scene.second.bundle().clone();
    let older = scene.under(&second, &["ann", "bob"]);
    let said = scene.refused(&older, "seq-lower");
    assert!(said.raw.contains("bundle 3"), "{}", said.raw);
}

#[test]
fn a_bundle_without_enough_signers_or_of_another_site_is_refused() {
    let mut scene = Scene::new();
    let second = scene.second.bundle().clone();
    for signers in [&["ann"][..], &["ann", "eve"], &[]] {
        let asked = scene.under(&second, signers);
        scene.refused(&asked, "too-few-signatures");
    }
    let mut elsewhere = scene.asked();
    elsewhere.namespace = Label::parse("another").unwrap();
    scene.refused(&elsewhere, "foreign-namespace");
    let mut foreign = second.clone();
    foreign.site.namespace = Label::parse("another").unwrap();
    let asked = scene.under(&foreign, &["ann", "bob"]);
    scene.refused(&asked, "foreign-namespace");
}

#[test]
fn a_box_that_is_not_as_the_bundle_lists_it_is_refused_by_the_name_of_the_check() {
    type Change = fn(&mut Scene);
    let changes: [(&str, Change); 6] = [
        ("wrong-bundle", |scene| scene.bench.spoken.claims.bundle = Digest([1; 32])),
        ("wrong-phase", |scene| scene.bench.spoken.claims.phase = "operational".into()),
        ("pcr-not-zero", |scene| scene.bench.spoken.pcrs[12] = Digest([1; 32])),
        ("event-log-mismatch", |scene| scene.bench.spoken.pcrs[7] = Digest([1; 32])),
        ("quote-content", |scene| scene.bench.spoken.claims.image = Digest([1; 32])),
        ("attestation-key", |scene| scene.bench.spoken.attributes ^= 1 << 16),
    ];
    for (code, change) in changes {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.refused(&scene.asked(), code);
    }
    // Another firmware than the bundle lists; a box that is not in it; a retired one.
    let mut scene = Scene::new();
    let mut bundle = scene.second.bundle().clone();
    bundle.hosts[0].pcr7 = [Digest([7; 32])].into_iter().collect();
    let asked = scene.under(&bundle, &["ann", "bob"]);
    scene.refused(&asked, "host-mismatch");
    let mut asked = scene.asked();
    asked.host = Label::parse("beta").unwrap();
    scene.refused(&asked, "host-not-in-bundle");
    let mut bundle = scene.second.bundle().clone();
    bundle.hosts[0].retired = true;
    let asked = scene.under(&bundle, &["ann", "bob"]);
    scene.refused(&asked, "retired");
}

#[test]
fn a_request_with_any_flipped_part_is_refused() {
    let scene = Scene::new();
    let good = scene.asked();
    let flip = |bytes: &mut Vec<u8>, at: usize| bytes[at] ^= 1;
    type Change<'a> = Box<dyn Fn(&mut RecoveryRequest) + 'a>;
    let changes: [(&str, Change<'_>); 6] = [
        ("anchors", Box::new(|asked| flip(&mut asked.anchors, 1))),
        ("too-few-signatures", Box::new(|asked| flip(&mut asked.bundle, 60))),
        ("quote-content", Box::new(|asked| asked.request.nonce[0] ^= 1)),
        ("quote-content", Box::new(|asked| asked.request.claims.hpke_key.0[0] ^= 1)),
        ("quote-signature", Box::new(|asked| flip(&mut asked.request.signature, 10))),
        ("endorsement-key", Box::new(|asked| flip(&mut asked.request.ek_public, 3))),
    ];
    for (code, change) in changes {
        let mut asked = good.clone();
        change(&mut asked);
        scene.refused(&asked, code);
    }
    // The two keys exchanged for those of somebody else's boot: the quote does not cover them.
    let mut asked = good.clone();
    asked.request.claims.hpke_key = BootKey::generate(&mut UnwrapErr(SysRng)).public();
    scene.refused(&asked, "quote-content");
    fs::write(scene.bench.path("alpha.request"), "{}").unwrap();
    let seal =
        ["share", "seal", "alpha.request", "--share", &share("ann"), "--identity", "ann.age"];
    scene.bench.refused(&[&seal[..], &["-o", "x", "--yes"]].concat(), "malformed-file");
    fs::write(scene.bench.path("alpha.request"), vec![b' '; 4 << 20]).unwrap();
    scene.bench.refused(&[&seal[..], &["-o", "x", "--yes"]].concat(), "file-too-large");
}

#[test]
fn a_share_of_another_root_or_split_is_refused_by_both_seal_and_check() {
    let mut scene = Scene::new();
    let mut next_split = scene.second.bundle().clone();
    next_split.site.seq = 3;
    next_split.root.split = 2;
    let asked = scene.under(&next_split, &["ann", "bob"]);
    scene.refused(&asked, "wrong-split");
    let mut other = scene.second.bundle().clone();
    other.site.seq = 3;
    other.root.established.as_mut().unwrap().fingerprint = Digest([9; 32]);
    let asked = scene.under(&other, &["ann", "bob"]);
    scene.refused(&asked, "wrong-root");
    let mut none = scene.second.bundle().clone();
    none.site.seq = 3;
    none.root.established = None;
    let asked = scene.under(&none, &["ann", "bob"]);
    scene.refused(&asked, "no-root");

    let check = ["share", "check", &share("ann"), "--identity", "ann.age"];
    let waits = scene.bench.good(&check);
    assert_eq!(waits["standing"], "not in force yet; asked for by");
    let in_force = [&check[..], &["--bundle", "site/bundles/000002.bundle"]].concat();
    assert_eq!(scene.bench.good(&in_force)["standing"], "in force under");
    fs::write(scene.bench.path("next"), scene.bench.envelope(&next_split, &["ann", "bob"]))
        .unwrap();
    scene.bench.refused(&[&check[..], &["--bundle", "next"]].concat(), "wrong-split");
    let mut foreign = check;
    foreign[4] = "bob.age";
    scene.bench.refused(&foreign, "share-closed");
}

#[test]
fn a_share_is_never_encrypted_to_another_recipient_on_a_bundles_word() {
    let mut scene = Scene::new();
    assert_eq!(scene.seal(&scene.asked(), "ann", &[]).code, 0);
    fs::remove_file(scene.bench.path("ann.sealed")).unwrap();
    let mut bundle = scene.second.bundle().clone();
    bundle.site.seq = 3;
    let recipients: Vec<_> = bundle.root.custodians.iter().map(|c| c.recipient.clone()).collect();
    bundle.root.custodians[0].recipient = recipients[1].clone();
    bundle.root.custodians[1].recipient = recipients[0].clone();
    let asked = scene.under(&bundle, &["ann", "bob"]);
    scene.refused(&asked, "recipient-changed");
}

#[test]
fn the_first_format_of_a_share_file_needs_anchors_once_and_is_sealed_for_ever() {
    let scene = Scene::new();
    // As a box writes it: version 1, no anchors, no bundle.
    let mut file = scene.kept("ann");
    (file.anchors, file.bundle) = (Vec::new(), Vec::new());
    fs::write(scene.bench.path("plain"), &*file.expose_encoded()).unwrap();
    let recipient = scene.bench.recipient("ann");
    let encrypt = Command::new("age")
        .args(["-r", &recipient, "-o", &share("ann"), "plain"])
        .current_dir(scene.bench.path("."))
        .status();
    assert!(encrypt.unwrap().success());
    let without = scene.seal(&scene.asked(), "ann", &[]);
    assert_eq!((without.code, without.refusal()), (2, "no-anchors"), "{}", without.raw);
    fs::copy(scene.bench.path("site/anchors"), scene.bench.path("anchors")).unwrap();
    let with = scene.seal(&scene.asked(), "ann", &["--anchors", "anchors"]);
    assert_eq!(with.code, 0, "{}", with.raw);
    assert_eq!(with.json["seen"], Value::Null);
    assert_eq!(scene.seal(&scene.asked(), "ann", &[]).code, 0, "remembered");
}

#[test]
fn a_passphrase_protected_identity_is_asked_for_on_the_terminal() {
    let scene = Scene::new();
    scene.write(&scene.asked());
    // `script` is a terminal; age asks there, whatever the tool's own input and output are.
    let typed = |command: &str, words: &str| {
        let mut child = Command::new("script")
            .args(["-qec", command, "/dev/null"])
            .current_dir(scene.bench.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), words.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (made, said) = typed("age -p -o locked.age ann.age", "long words\nlong words\n");
    assert!(made, "{said}");
    let tool = env!("CARGO_BIN_EXE_casemate");
    let seal = format!(
        "{tool} share seal alpha.request --share {} --identity locked.age -o ann.sealed --yes",
        share("ann")
    );
    let (sealed, said) = typed(&seal, "long words\n");
    assert!(sealed && said.contains("Enter passphrase"), "{said}");
    assert!(scene.open("ann").commitment() == scene.kept("ann").share.commitment());
    fs::remove_file(scene.bench.path("ann.sealed")).unwrap();
    let (sealed, said) = typed(&seal, "other words\n");
    assert!(!sealed && said.contains("share-closed"), "{said}");
    assert!(!scene.bench.path("ann.sealed").exists());
}

#[test]
fn no_output_and_no_file_of_a_custodian_shows_the_share() {
    let scene = Scene::new();
    let said = scene.seal(&scene.asked(), "ann", &[]);
    let kept = scene.kept("ann");
    let secret = &kept.share.expose_bytes()[1..];
    let hex = casemate_formats::digest::hex(secret);
    assert!(!said.raw.contains(&hex));
    let names: BTreeSet<_> =
        fs::read_dir(scene.bench.path(".")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in names.iter().filter(|path| path.is_file()) {
        let bytes = fs::read(path).unwrap();
        let shown = bytes.windows(32).any(|window| window == secret)
            || String::from_utf8_lossy(&bytes).contains(&hex);
        assert!(!shown, "{}", path.display());
    }
}

#[test]
fn signers_change_by_a_command_that_keeps_what_people_wrote() {
    let scene = Scene::new();
    let bench = &scene.bench;
    bench.edit("site/site.toml", "threshold = 2", "threshold = 2 # both");
    let before = bench.good(&["site", "signers", "--site", "site"]);
    assert_eq!((&before["written"], &before["threshold"]), (&json!("same"), &json!(2)));
    let signers = ["site", "signers", "--site", "site", "--drop", "bob.pub", "--add", "eve.pub"];
    let changed = bench.good(&signers);
    assert_ne!(changed["anchors"], before["anchors"]);
    assert_eq!(changed["former"].as_array().unwrap().len(), 1);
    assert_eq!(bench.good(&signers)["anchors"], changed["anchors"], "idempotent");
    let text = bench.read("site/site.toml");
    assert!(text.contains("threshold = 2 # both"), "{text}");
    assert!(
        text.contains(bench.read("eve.pub").trim()) && !text.contains(bench.read("bob.pub").trim())
    );
    let only = bench.good(&["site", "signers", "--site", "site", "--only", "eve.pub"]);
    assert_eq!((&only["threshold"], only["signers"].as_array().unwrap().len()), (&json!(1), 1));
    bench.refused(&["site", "signers", "--site", "site", "--add", "ann.age"], "out-of-range");
    // A key that never signed: whoever was meant would go on signing.
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", "fay"])
            .current_dir(bench.path("."))
            .status()
            .unwrap()
            .success()
    );
    let before = bench.read("site/site.toml");
    bench.refused(&["site", "signers", "--site", "site", "--drop", "fay.pub"], "no-such-signer");
    assert_eq!(bench.read("site/site.toml"), before);
}

#[test]
fn asking_for_a_root_or_shares_needs_a_root_and_says_who_comes_and_goes() {
    let bench = Workbench::ready();
    bench.signed();
    bench.refused(&["genesis", "ask", "--site", "site", "--new-root"], "no-root");
    let scene = Scene::new();
    let bench = &scene.bench;
    assert_eq!(bench.casemate(&["genesis", "ask", "--site", "site"]).code, 2);
    let ask = ["genesis", "ask", "--site", "site"];
    bench.refused(&[&ask[..], &["--add", "dan=age1x"]].concat(), "out-of-range");
    let before = bench.read("site/bundle.toml");
    bench.refused(&[&ask[..], &["--drop", "anne"]].concat(), "no-such-custodian");
    assert_eq!(bench.read("site/bundle.toml"), before, "nothing was asked in its place");
    let eve = format!("ann={}", bench.recipient("eve"));
    bench.refused(&[&ask[..], &["--add", &eve]].concat(), "duplicate");
    let replaced = bench.good(&[&ask[..], &["--drop", "ann", "--add", &eve]].concat());
    assert!(replaced["changes"].to_string().contains("asks for new shares of root 1"));
    assert_eq!(replaced["split"], 2);
    let asked = bench.good(&["bundle", "diff", "--site", "site"]);
    assert!(asked["lines"].to_string().contains("root.next.split = 2"), "{asked}");
}

#[test]
fn a_share_file_that_holds_the_largest_bundle_opens() {
    let scene = Scene::new();
    let mut kept = scene.kept("ann");
    // As many bytes as a bundle may have; age answers long before it has read all of them.
    kept.bundle = vec![0; casemate_formats::limits::BUNDLE_BYTES];
    let recipient = parse_recipient(&scene.bench.recipient("ann")).unwrap();
    let mut rng = UnwrapErr(SysRng);
    let file = age::encrypt(&recipient, &kept.expose_encoded(), &mut rng).unwrap();
    fs::write(scene.bench.path(share("ann")), file).unwrap();
    let check = ["share", "check", &share("ann"), "--identity", "ann.age"];
    let said = scene.bench.casemate(&check);
    assert_eq!(said.refusal(), "share-malformed", "it was read to its end: {}", said.raw);
}

#[test]
fn nothing_is_written_in_the_place_of_a_share_an_identity_or_a_request() {
    let scene = Scene::new();
    let bench = &scene.bench;
    scene.write(&scene.asked());
    let kept = share("ann");
    std::os::unix::fs::symlink(&kept, bench.path("link")).unwrap();
    let all = [&*kept, "ann.age", "alpha.request"].map(|name| (name, fs::read(bench.path(name))));
    let over = |arguments: &[&str]| {
        let said = bench.casemate(arguments);
        assert_eq!((said.code, said.refusal()), (2, "in-place-of"), "{}", said.raw);
        for (name, before) in &all {
            assert_eq!(&fs::read(bench.path(name)).unwrap(), before.as_ref().unwrap(), "{name}");
        }
    };
    let seal = ["share", "seal", "alpha.request", "--share", &kept, "--identity", "ann.age"];
    for out in [&*kept, "./ann.age", "alpha.request", "link"] {
        over(&[&seal[..], &["--yes", "-o", out]].concat());
    }
    let bundle = ["share", "bundle", &kept, "--identity", "ann.age"];
    over(&[&bundle[..], &["-o", &kept]].concat());
    over(&[&bundle[..], &["-o", "site.bundle", "--anchors-to", "ann.age"]].concat());
}

#[test]
fn acknowledging_again_does_not_change_whom_a_share_file_believes() {
    let scene = Scene::new();
    let bench = &scene.bench;
    let before = scene.kept("ann").anchors;
    let signers = ["site", "signers", "--site", "site", "--add", "eve.pub"];
    let new = bench.good(&signers)["anchors"].as_str().unwrap().to_owned();
    let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity", "ann.age"];
    bench.refused(&ack, "anchors-changed");
    assert!(scene.kept("ann").anchors == before);
    bench.good(&[&ack[..], &["--accept-anchors", &new]].concat());
    let anchors = fs::read(bench.path("site/anchors")).unwrap();
    assert!(before != anchors && scene.kept("ann").anchors == anchors);
    bench.good(&ack);
}

#[test]
fn from_a_log_that_the_record_does_not_vouch_for_nothing_is_listed() {
    let bench = Workbench::ready();
    let record = bench.read("site/hosts/alpha.toml");
    // Signers would expect another PCR 7 just now, and sign that of a firmware that somebody chose.
    let mut foreign = bench.spoken.log.clone();
    let at = foreign.events.iter().position(|event| event.pcr == 7).unwrap();
    foreign.events.remove(at);
    for log in [foreign.encode(), b"no log".to_vec()] {
        fs::write(bench.path("site/hosts/alpha.log"), log).unwrap();
        let made = bench.good(&["site", "new-db", "--site", "site"]);
        assert_eq!(made["listed"], json!([{ "host": "alpha", "pcr7": null }]));
        assert_eq!(bench.read("site/hosts/alpha.toml"), record);
    }
}

#[test]
fn a_new_db_certificate_stands_beside_the_former_one_and_its_pcr_7_is_listed_before() {
    let scene = Scene::new();
    let bench = &scene.bench;
    fs::write(bench.path("site/hosts/alpha.log"), bench.spoken.log.encode()).unwrap();
    let before = fs::read(bench.path("site/private/db.key")).unwrap();
    let made = bench.good(&["site", "new-db", "--site", "site"]);
    assert_eq!(made["certificates"], 2);
    let aside = made["aside"].as_array().unwrap();
    assert_eq!(aside.len(), 2, "key and certificate");
    assert!(fs::read(bench.path(aside[0].as_str().unwrap())).unwrap() == before);
    assert!(fs::read(bench.path("site/private/db.key")).unwrap() != before);
    // What a machine with the new certificate, started by the former key, will have.
    let anchors = Anchors::decode(&fs::read(bench.path("site/anchors")).unwrap()).unwrap();
    let after = FirmwareLog::boot(&anchors, &SECTIONS, authenticode()).pcrs()[7];
    assert_eq!(made["listed"][0]["pcr7"], json!(after));
    let record = bench.good(&["host", "list", "--site", "site"]);
    let listed = [bench.spoken.pcrs[7], after];
    assert_eq!(record["alpha"]["pcr7"], json!(listed));
    let alone = bench.good(&["site", "new-db", "--site", "site", "--drop-former"]);
    assert_eq!(alone["certificates"], 1);
    fs::remove_file(bench.path("site/private/KEK.key")).unwrap();
    let without = bench.casemate(&["site", "new-db", "--site", "site"]);
    assert_eq!((without.code, without.refusal()), (2, "secure-boot-key"), "{}", without.raw);
    assert!(bench.path("site/private/db.key").exists(), "nothing was moved");
}
