//! What works, in the order in which a site lives it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use casemate_formats::{
    digest::Digest,
    share::{ShareFile, split::combine},
};

use crate::workbench::Workbench;

const ROOT: [u8; 32] = [0x5a; 32];

#[test]
fn nothing_secret_is_in_the_tracked_part_of_a_site() {
    let bench = Workbench::ready();
    bench.signed();
    bench.git(&["init", "-q"]);
    bench.git(&["add", "-A"]);
    let tracked = bench.git(&["ls-files"]);
    for expected in ["site.toml", "bundle.toml", "anchors", "secure-boot/db.crt", ".gitignore"] {
        assert!(tracked.lines().any(|name| name == expected), "{expected} in {tracked}");
    }
    for name in tracked.lines() {
        assert!(!name.starts_with("private/") && !name.ends_with(".key"), "{name}");
        let bytes = fs::read(bench.path("site").join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("PRIVATE KEY-----"), "{name}");
        assert!(!text.contains("AGE-SECRET-KEY"), "{name}");
    }
    for name in ["PK", "KEK", "db"] {
        let key = bench.path(format!("site/private/{name}.key"));
        assert!(bench.read(&format!("site/private/{name}.key")).contains("PRIVATE KEY-----"));
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let folder = fs::metadata(bench.path("site/private")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn init_again_changes_nothing_and_needs_no_private_key() {
    let bench = Workbench::new();
    let first = bench.init();
    fs::rename(bench.path("site/private"), bench.path("elsewhere")).unwrap();
    let again = bench.init();
    assert_eq!(first["anchors"], again["anchors"]);
    assert!(again["files"].as_array().unwrap().iter().all(|file| file["written"] == "same"));
    assert!(!bench.path("site/private").exists());
    // A change of site.toml gives new anchors, with the same Secure Boot keys.
    bench.edit("site/site.toml", "threshold = 2", "threshold = 1");
    let changed = bench.good(&["site", "init", "site"]);
    assert_ne!(first["anchors"], changed["anchors"]);
}

#[test]
fn a_site_gets_from_an_empty_directory_to_an_acknowledged_root() {
    let bench = Workbench::ready();
    let check = bench.good(&["bundle", "check", "--site", "site"]);
    assert_eq!(check["seq"], 1);
    let first = bench.signed();
    assert!(first.bundle().root.asked().is_some());

    bench.write_answer(&first, bench.answer(&first, &ROOT));
    for name in ["ann", "bob"] {
        let identity = format!("{name}.age");
        let said = bench.good(&[
            "share",
            "ack",
            "site/genesis/1-1.json",
            "--site",
            "site",
            "--identity",
            &identity,
        ]);
        assert_eq!(said["ack"]["custodian"], name);
    }
    // One of them has the anchors alone, and sends the acknowledgement.
    let said = bench.good(&[
        "share",
        "ack",
        "site/genesis/1-1.json",
        "--anchors",
        "site/anchors",
        "--identity",
        "cyd.age",
        "--custodian",
        "cyd",
        "--out",
        "of-cyd",
    ]);
    assert_eq!(said["ack_file"], "of-cyd/example-1-1-cyd.ack.json");

    bench.good(&["bundle", "new", "--site", "site"]);
    let pending = bench.good(&["bundle", "build", "--site", "site"]);
    assert!(pending["notes"].to_string().contains("missing: cyd"));
    fs::copy(bench.path("of-cyd/example-1-1-cyd.ack.json"), bench.path("site/acks/1-1/cyd.json"))
        .unwrap();
    let diff = bench.good(&["bundle", "diff", "--site", "site"]);
    assert!(diff["lines"].to_string().contains("+ root.established.generation = 1"));
    let second = bench.signed();
    let known = second.bundle().root.established.as_ref().unwrap();
    assert_eq!((second.bundle().site.seq, known.generation, known.acks.len()), (2, 1, 3));
    assert_eq!(second.bundle().root.asked(), None);

    // Two of the custodians' own files are enough, and bring the bundle back as well.
    let read = |name: &str, file: &str| ShareFile::decode(&bench.age(name, file)).unwrap();
    let files =
        [read("ann", "example-1-1-ann.share.age"), read("cyd", "of-cyd/example-1-1-cyd.share.age")];
    assert!(files.iter().all(|file| file.bundle == first.envelope()));
    let shares = files.map(|file| file.share);
    assert!(*combine(&shares).unwrap() == ROOT);
}

#[test]
fn every_step_can_be_repeated() {
    let bench = Workbench::ready();
    let first = bench.signed();
    assert_eq!(bench.good(&["bundle", "build", "--site", "site"])["written"], "same");
    let again = bench.good(&["bundle", "sign", "--site", "site", "--key", "ann", "--yes"]);
    assert_eq!((&again["added"], &again["complete"]), (&0.into(), &true.into()));
    let manifest = ["bundle", "add-image", "--site", "site", "manifest.json"];
    assert_eq!(bench.good(&manifest)["written"], "same");
    assert_eq!(bench.newest().envelope(), first.envelope());
    assert_eq!(bench.good(&["bundle", "new", "--site", "site"])["seq"], 2);
    let text = bench.read("site/bundle.toml");
    assert_eq!(bench.good(&["bundle", "new", "--site", "site"])["changed"], false);
    assert_eq!(bench.read("site/bundle.toml"), text);
}

#[test]
fn signatures_made_elsewhere_count_the_same() {
    let bench = Workbench::ready();
    bench.good(&["bundle", "build", "--site", "site", "--body", "to-sign"]);
    bench.good(&["bundle", "sign", "--site", "site", "--key", "ann", "--yes"]);
    bench.ssh_keygen_sign("bob", "casemate.bundle.v1", "to-sign");
    let said = bench.good(&["bundle", "sign", "--site", "site", "--signature", "to-sign.sig"]);
    assert_eq!(said["complete"], true);
    let shown = bench.good(&["bundle", "show", "--site", "site"]);
    assert_eq!(shown["signers"].as_array().unwrap().len(), 2);
    assert_eq!(shown["digest"], bench.newest().digest().to_string());
}

#[test]
fn a_share_file_never_goes_back_to_an_older_bundle() {
    let bench = Workbench::ready();
    let first = bench.signed();
    let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity", "ann.age"];
    bench.good(&["bundle", "new", "--site", "site"]);
    let second = bench.signed();
    let kept = || ShareFile::decode(&bench.age("ann", "example-1-1-ann.share.age")).unwrap().bundle;
    for (bundle, newest) in [(&first, &first), (&second, &second), (&first, &second)] {
        bench.write_answer(bundle, bench.answer(bundle, &ROOT));
        bench.good(&ack);
        assert!(kept() == newest.envelope());
    }
}

#[test]
fn the_share_of_another_root_is_never_overwritten() {
    let bench = Workbench::ready();
    let first = bench.signed();
    let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity", "ann.age"];
    for root in [&ROOT, &[9; 32]] {
        bench.write_answer(&first, bench.answer(&first, root));
        bench.good(&ack);
    }
    let kept: std::collections::BTreeSet<_> = fs::read_dir(bench.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("example-1-1-ann.share."))
        .map(|name| ShareFile::decode(&bench.age("ann", &name)).unwrap().fingerprint)
        .collect();
    assert_eq!(kept, [Digest::sha256(&ROOT), Digest::sha256(&[9; 32])].into());
}

#[test]
fn a_site_keeps_its_root_when_its_signers_change() {
    let bench = Workbench::ready();
    let first = bench.signed();
    bench.write_answer(&first, bench.answer(&first, &ROOT));
    for name in ["ann", "bob", "cyd"] {
        let identity = format!("{name}.age");
        let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity"];
        bench.good(&[&ack[..], &[&identity]].concat());
    }
    let eve = bench.read("eve.pub");
    bench.edit("site/site.toml", bench.read("bob.pub").trim(), eve.trim());
    bench.good(&["site", "init", "site"]);
    // The manifest of an image with the new anchors would follow here.
    bench.good(&["bundle", "new", "--site", "site"]);
    bench.good(&["bundle", "build", "--site", "site"]);
    for key in ["ann", "eve"] {
        bench.good(&["bundle", "sign", "--site", "site", "--key", key, "--yes"]);
    }
    // A box with the former anchors still needs both of theirs.
    let said = bench.good(&["bundle", "sign", "--site", "site", "--key", "bob", "--yes"]);
    assert_eq!((&said["added"], &said["former"][0]["found"]), (&1.into(), &2.into()));
    let second = bench.newest();
    assert_eq!((second.bundle().site.seq, second.bundle().root.asked()), (2, None));
}

#[test]
fn a_further_image_of_a_signed_site_builds_the_next_bundle() {
    let bench = Workbench::ready();
    bench.signed();
    let mut manifest = bench.manifest();
    manifest.pcr11 = Digest::sha256(b"another image");
    bench.write_manifest(&manifest);
    let added = bench.good(&["bundle", "add-image", "--site", "site", "manifest.json"]);
    assert_eq!((&added["bundle"]["seq"], &added["bundle"]["written"]), (&2.into(), &"new".into()));
    bench.good(&["bundle", "sign", "--site", "site", "--key", "ann", "--key", "bob", "--yes"]);
    assert_eq!(bench.newest().bundle().images.len(), 2);
}
