//! Lost and back: boxes that get their root from another one, or from custodians who never see a
//! network; and what is refused on the way, by name.

use std::fs;

use casemate_formats::{bundle::body::Recipient, digest::Digest, share::age::format_recipient};
use casemate_tests::{age::AgeIdentity, firmware_log::Event, host::Host};
use serde_json::{Value, json};

use crate::ops::{CUSTODIANS, Ops};

/// A site whose box alpha serves; and a token that it made.
pub fn serving() -> (Ops, Host, Value) {
    let ops = Ops::new().expect("a site");
    let alpha = ops.boot().expect("a box");
    ops.host_add(&alpha, &alpha.ek.clone()).ok();
    ops.bundle();
    ops.establish();
    let context = json!({ "column": "users.phone", "user": "7" });
    let ask = json!({ "keyring": "pii", "context": context, "plaintext": "KzQ5IDMw" });
    let (status, made) = ops.curl(&alpha, "/v1/encrypt", &ask).expect("curl");
    assert_eq!(status, 200, "{made}");
    let token = json!({ "token": made["token"], "context": context });
    (ops, alpha, token)
}

/// Whether a box decrypts a token of [`serving`].
pub fn decrypts(ops: &Ops, name: &str, host: &Host, token: &Value) -> bool {
    let (status, said) = ops.curl_as(name, host, "/v1/decrypt", token).expect("curl");
    status == 200 && said["plaintext"] == "KzQ5IDMw"
}

/// A second box that serves by Forward.
pub fn second(ops: &Ops) -> Host {
    let beta = ops.boot().expect("a box");
    ops.add("beta", &beta, &beta.ek.clone(), &[]).ok();
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.as_ops(&["forward", "--from", "alpha", "--to", "beta"]).ok();
    beta
}

/// Another board in the place of alpha; listed, under the newest bundle, locked.
fn replaced(ops: &Ops) -> Host {
    let new = ops.boot().expect("a box");
    let ek = new.ek.clone();
    assert_eq!(ops.add("alpha", &new, &ek, &[]).refused(), "host-exists");
    ops.add("alpha", &new, &ek, &["--replace"]).ok();
    ops.sign();
    let pushed = ops.on_site(&["bundle", "push", "--host", "alpha"]).ok();
    assert_eq!(pushed[0]["answer"]["phase"], "locked");
    new
}

fn request(ops: &Ops) -> String {
    let file = ops.text("alpha.request");
    ops.on_site(&["share", "request", "--host", "alpha", "-o", &file]).ok();
    file
}

fn push(ops: &Ops, names: &[&str]) -> crate::ops::Run {
    let files: Vec<String> = names.iter().map(|name| ops.text(&format!("{name}.sealed"))).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    ops.on_site(&[&["share", "push", "--host", "alpha"][..], &files].concat())
}

/// A host record whose interface has this hardware address.
fn with_mac(record: &str, mac: &str) -> String {
    let network = format!("\n[network]\nmac = \"{mac}\"");
    match record.contains("\n[network]") {
        true => record.replacen("\n[network]", &network, 1),
        false => format!("{record}{network}\n"),
    }
}

#[test]
fn a_second_box_takes_four_commands_and_no_custodian() {
    let (ops, alpha, token) = serving();
    let beta = ops.boot().expect("a box");
    ops.add("beta", &beta, &beta.ek.clone(), &[]).ok();
    ops.sign();
    let pushed = ops.as_ops(&["bundle", "push"]).ok();
    let row = |at: usize| (&pushed[at]["host"], &pushed[at]["answer"]["phase"]);
    assert_eq!(row(0), (&json!("alpha"), &json!("operational")));
    assert_eq!(row(1), (&json!("beta"), &json!("locked")));
    let forward = ["forward", "--from", "alpha", "--to", "beta"];
    assert_eq!(ops.on_site(&forward).code, 2, "it needs a client");
    assert_eq!(ops.as_ops(&forward).ok()["phase"], "operational");
    assert!(decrypts(&ops, "beta", &beta, &token) && decrypts(&ops, "alpha", &alpha, &token));
    // Idempotent, and never from a box to itself.
    assert_eq!(ops.as_ops(&forward).ok()["forwarded"], false);
    let itself = ops.as_ops(&["forward", "--from", "beta", "--to", "beta"]);
    assert_eq!(itself.refused(), "same-box");
}

#[test]
fn a_closed_box_an_older_bundle_and_an_unlisted_box_get_and_give_no_root() {
    let (ops, _alpha, _) = serving();
    let beta = ops.boot().expect("a box");
    ops.add("beta", &beta, &beta.ek.clone(), &[]).ok();
    let forward = ["forward", "--from", "alpha", "--to", "beta"];
    assert_eq!(ops.as_ops(&forward).refused(), "host-not-in-bundle");
    ops.sign();
    ops.as_ops(&["bundle", "push", "--host", "beta"]).ok();
    // alpha does not know beta yet.
    assert_eq!(ops.as_ops(&forward).refused(), "not-listed");
    ops.as_ops(&["bundle", "push", "--host", "alpha"]).ok();
    let backwards = ops.as_ops(&["forward", "--from", "beta", "--to", "alpha"]);
    assert_eq!(backwards.ok()["forwarded"], false, "alpha is open: nobody asks beta");
    ops.on_site(&["bundle", "new"]).ok();
    ops.on_site(&["bundle", "build"]).ok();
    ops.sign();
    ops.as_ops(&["bundle", "push", "--host", "alpha"]).ok();
    assert_eq!(ops.as_ops(&forward).refused(), "wrong-bundle");
    ops.as_ops(&["bundle", "push", "--host", "beta"]).ok();
    ops.as_ops(&forward).ok();
}

#[test]
fn all_boxes_lost_a_new_board_and_k_custodians_bring_the_old_tokens_back() {
    let (ops, alpha, token) = serving();
    drop(alpha);
    // The lost board was told from others by its hardware address; the new one has another.
    let record = ops.path("site/hosts/alpha.toml");
    let old = fs::read_to_string(&record).expect("a record");
    fs::write(&record, with_mac(&old, "02:00:00:00:00:01")).expect("written");
    let new = replaced(&ops);
    let text = fs::read_to_string(&record).expect("a record");
    assert!(!text.contains("02:00:00:00:00:01"), "{text}");
    let file = request(&ops);
    let seen = ops.seal(&file, "ann", (1, 1), &[]).ok();
    assert_eq!((&seen["host"], &seen["custodian"]), (&json!("alpha"), &json!("ann")));
    assert!(seen["changes"].to_string().contains("root 1 is there"), "{seen}");
    ops.seal(&file, "cyd", (1, 1), &[]).ok();
    let held = push(&ops, &["ann"]).ok();
    assert_eq!((&held["held"], &held["needed"]), (&json!(1), &json!(2)));
    let open = push(&ops, &["cyd"]).ok();
    assert_eq!(open["phase"], "operational");
    assert!(decrypts(&ops, "alpha", &new, &token));
    assert_eq!(push(&ops, &["ann", "cyd"]).ok()["sent"], 0, "it is open already");
    let asked = ops.on_site(&["share", "request", "--host", "alpha", "-o", &file]);
    assert_eq!(asked.refused(), "wrong-phase");
}

#[test]
fn shares_that_do_not_fit_are_named_and_the_others_stay() {
    let (ops, alpha, token) = serving();
    drop(alpha);
    let mut new = replaced(&ops);
    let file = request(&ops);
    for name in ["ann", "bob"] {
        ops.seal(&file, name, (1, 1), &[]).ok();
    }
    // The same custodian twice counts once.
    fs::copy(ops.path("ann.sealed"), ops.path("again.sealed")).expect("a copy");
    let twice = push(&ops, &["ann", "again"]);
    assert_eq!(twice.refused(), "repeated-share");
    assert!(twice.stdout.contains("\"custodian\":\"ann\""), "{twice:?}");
    // A flipped bit in what is sealed.
    let text = fs::read_to_string(ops.path("bob.sealed")).expect("text");
    let mut sealed: Value = serde_json::from_str(&text).expect("JSON");
    let message = sealed["message"]["sealed"].as_str().expect("base64").to_owned();
    let flipped = if message.starts_with('A') { "B" } else { "A" };
    sealed["message"]["sealed"] = json!(format!("{flipped}{}", &message[1..]));
    fs::write(ops.path("flipped.sealed"), sealed.to_string()).expect("written");
    let damaged = push(&ops, &["flipped"]);
    assert_eq!(damaged.refused(), "damaged-share");
    assert!(damaged.stdout.contains("\"custodian\":\"bob\""), "{damaged:?}");
    // The box starts again: what was sealed to the boot before opens nothing.
    new.reboot().expect("a reboot");
    let stale = push(&ops, &["ann", "bob"]);
    assert_eq!(stale.refused(), "wrong-boot");
    let file = request(&ops);
    ops.seal(&file, "ann", (1, 1), &[]).ok();
    let held = push(&ops, &["bob", "ann"]);
    assert_eq!(held.refused(), "wrong-boot");
    assert!(held.stdout.contains("holds 1 of 2"), "ann's is held: {held:?}");
    ops.seal(&file, "bob", (1, 1), &[]).ok();
    assert_eq!(push(&ops, &["bob"]).ok()["phase"], "operational");
    assert!(decrypts(&ops, "alpha", &new, &token));
}

#[test]
fn a_custodian_leaves_the_root_stays_and_the_old_share_is_named_as_dangerous() {
    let (ops, alpha, token) = serving();
    let dan = format!("dan={}", ops.custodian("dan"));
    let asked = ops.on_site(&["genesis", "ask", "--drop", "cyd", "--add", &dan]).ok();
    let words = asked["changes"].to_string();
    for expected in ["asks for new shares of root 1", "new: dan", "leaving: cyd"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    assert_eq!(ops.on_site(&["genesis", "ask", "--drop", "cyd", "--add", &dan]).ok(), {
        let mut same = asked.clone();
        same["bundle"]["written"] = json!("same");
        same
    });
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.genesis(&["ann", "bob", "dan"]);
    ops.on_site(&["bundle", "build", "--next"]).ok();
    let check = ops.on_site(&["bundle", "check"]).ok();
    let danger =
        "the shares of split 1 (any 2 of ann, bob, cyd) are taken no more, and yet open root 1";
    assert!(check["changes"].to_string().contains(danger), "{check}");
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    assert!(decrypts(&ops, "alpha", &alpha, &token));
    drop(alpha);
    let new = replaced(&ops);
    let file = request(&ops);
    for gone in ["cyd", "ann"] {
        assert_eq!(ops.seal(&file, gone, (1, 1), &[]).refused(), "wrong-split");
    }
    for name in ["ann", "dan"] {
        ops.seal(&file, name, (1, 2), &[]).ok();
    }
    assert_eq!(push(&ops, &["ann", "dan"]).ok()["phase"], "operational");
    assert!(decrypts(&ops, "alpha", &new, &token));
}

#[test]
fn a_next_root_reaches_every_box_before_the_bundle_that_names_it() {
    let (ops, alpha, token) = serving();
    let beta = second(&ops);
    let asked = ops.on_site(&["genesis", "ask", "--new-root"]).ok();
    assert!(asked["changes"].to_string().contains("asks for the next root, 2"), "{asked}");
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.genesis(&CUSTODIANS);
    ops.on_site(&["bundle", "build", "--next"]).ok();
    ops.sign();
    assert_eq!(ops.on_site(&["bundle", "push"]).code, 2, "a pending root needs a client");
    let pushed = ops.as_ops(&["bundle", "push"]).ok();
    for row in pushed.as_array().expect("rows") {
        assert_eq!(row["answer"]["phase"], "operational", "{pushed}");
    }
    let words = ops.on_site(&["bundle", "show"]).ok();
    assert_eq!(words["bundle"]["root"]["established"]["generation"], 2);
    let again = ops.as_ops(&["bundle", "push"]).ok();
    assert_eq!(again[0]["answer"]["outcome"], "again");
    assert!(decrypts(&ops, "alpha", &alpha, &token) && decrypts(&ops, "beta", &beta, &token));

    let rotated = ops.on_site(&["bundle", "rotate", "--serve"]).ok();
    assert_eq!((&rotated["rotated"], &rotated["serving"]), (&json!(["pii"]), &json!(2)));
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    let ask = json!({ "keyring": "pii", "context": token["context"], "plaintext": "KzQ5IDMw" });
    let (status, made) = ops.curl(&alpha, "/v1/encrypt", &ask).expect("curl");
    assert_eq!(status, 200, "{made}");
    assert!(made["token"].as_str().expect("a token").starts_with("cm1.pii.2."), "{made}");
    let new = json!({ "token": made["token"], "context": token["context"] });
    for (name, host) in [("alpha", &alpha), ("beta", &beta)] {
        assert!(decrypts(&ops, name, host, &new) && decrypts(&ops, name, host, &token), "{name}");
    }
}

#[test]
fn a_box_that_is_away_is_not_left_behind_under_the_old_root() {
    let (ops, alpha, _) = serving();
    let mut beta = second(&ops);
    ops.on_site(&["genesis", "ask", "--new-root"]).ok();
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.genesis(&CUSTODIANS);
    ops.on_site(&["bundle", "build", "--next"]).ok();
    ops.sign();
    beta.power_off().expect("off");
    let push = ops.as_ops(&["bundle", "push"]);
    assert_eq!(push.code, 2);
    assert!(push.stdout.contains("left behind: nothing was pushed"), "{push:?}");
    let status = ops.on_host(&["status"], "ops").ok();
    assert_eq!(status["seq"], 4, "alpha is still under the bundle that asks");
    beta.reboot().expect("on");
    let pushed = ops.as_ops(&["bundle", "push"]).ok();
    assert_eq!(pushed[0]["answer"]["phase"], "operational", "{pushed}");
    drop(alpha);
}

#[test]
fn a_firmware_update_is_told_in_words_listed_beside_the_old_and_forwarded_to() {
    let (ops, mut alpha, token) = serving();
    let _beta = second(&ops);
    let same = ops.on_site(&["host", "refresh", "alpha", "--yes"]).ok();
    assert_eq!(same["written"], "same");
    assert!(same["difference"].to_string().contains("measured the same"), "{same}");

    alpha.update_firmware(|log| {
        for event in &mut log.events {
            if event.pcr == 0 && event.kind == 0x08 {
                *event = Event::of(0, 0x08, b"firmware version 2\0".to_vec());
            }
        }
        let at = log.events.iter().position(|event| event.pcr == 7 && event.kind == 0x04);
        let hash = [
            &b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"[..],
            &76_u32.to_le_bytes(),
            &0_u32.to_le_bytes(),
            &48_u32.to_le_bytes(),
            &[0; 16],
            &Digest::sha256(b"a revoked shim").0,
        ]
        .concat();
        let dbx = casemate_formats::efi::variable::IMAGE_SECURITY;
        let at = at.expect("a separator");
        log.events[at - 1] = Event::variable("dbx", &dbx, &hash);
    });
    alpha.reboot().expect("a reboot");
    let forward = ["forward", "--from", "beta", "--to", "alpha"];
    assert_eq!(ops.as_ops(&forward).refused(), "host-mismatch");
    let asked = ops.on_site(&["host", "refresh", "alpha"]);
    assert_eq!(asked.code, 2, "a person decides: {asked:?}");
    let refreshed = ops.on_site(&["host", "refresh", "alpha", "--yes"]).ok();
    let words = refreshed["difference"].to_string();
    for expected in ["dbx: added 1 entries: hash", "PCR 0 (firmware code): now CRTM version"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    assert_eq!(refreshed["listed"].as_array().expect("a list").len(), 2);
    assert_eq!(ops.on_site(&["host", "refresh", "alpha", "--yes"]).ok()["written"], "same");
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.as_ops(&forward).ok();
    assert!(decrypts(&ops, "alpha", &alpha, &token));
    alpha.reboot().expect("a reboot");
    assert!(decrypts(&ops, "alpha", &alpha, &token), "it opens by itself again");
    let dropped = ops.on_site(&["host", "refresh", "alpha", "--drop-old", "--yes"]).ok();
    assert_eq!(dropped["listed"].as_array().expect("a list").len(), 1);
}

#[test]
fn another_board_or_secure_boot_off_is_no_firmware_update() {
    let (ops, mut alpha, _) = serving();
    let other = ops.boot().expect("a box");
    let address = other.address.to_string();
    let refresh = ["host", "refresh", "alpha", "--yes"];
    let foreign = ops.on_site(&[&refresh[..], &["--address", &address]].concat());
    assert_eq!(foreign.refused(), "host-mismatch");
    alpha.update_firmware(|log| {
        let guid = casemate_formats::efi::variable::GLOBAL;
        let off = Event::variable("SecureBoot", &guid, &[0]);
        let at = log.events.iter().position(|event| event.pcr == 7);
        log.events[at.expect("SecureBoot")] = off;
    });
    alpha.reboot().expect("a reboot");
    assert_eq!(ops.on_site(&refresh).refused(), "secure-boot-off");
}

#[test]
fn a_lost_repository_comes_back_from_a_box_and_from_a_share_file() {
    let (ops, alpha, _) = serving();
    let address = alpha.address.to_string();
    let client = ops.text("clients/ops");
    fs::copy(ops.path("site/anchors"), ops.path("anchors")).expect("a copy");
    let bundle = fs::read(ops.path("site/bundles/000002.bundle")).expect("a bundle");
    fs::remove_dir_all(ops.path("site")).expect("lost");
    let (from_box, anchors) = (ops.text("from-box"), ops.text("anchors"));
    let fetch = ["bundle", "fetch", "--address", &address, "--anchors", &anchors];
    let said = ops.run(&[&fetch[..], &["--client", &client, "--site", &from_box]].concat()).ok();
    assert_eq!((&said["seq"], &said["namespace"]), (&json!(2), &json!("example")));
    assert_eq!(fs::read(ops.path("from-box/bundles/000002.bundle")).expect("a bundle"), bundle);
    // It is a site again: the sources give the same body, and the next one can be built.
    assert_eq!(ops.run(&["bundle", "build", "--site", &from_box]).ok()["written"], "same");
    assert_eq!(ops.run(&["bundle", "diff", "--site", &from_box]).ok()["lines"], json!([]));
    ops.run(&["bundle", "new", "--site", &from_box]).ok();
    assert_eq!(ops.run(&["bundle", "build", "--site", &from_box]).ok()["seq"], 3);

    // From a custodian: the bundle that the share file remembers, and the anchors.
    let (share, identity) = (ops.share("ann", 1, 1), ops.text("ann.age"));
    let (file, kept) = (ops.text("site.bundle"), ops.text("kept-anchors"));
    let take = ["share", "bundle", &share, "--identity", &identity, "-o", &file];
    assert_eq!(ops.run(&[&take[..], &["--anchors-to", &kept]].concat()).ok()["seq"], 1);
    assert_eq!(fs::read(&kept).expect("anchors"), fs::read(&anchors).expect("anchors"));
    let from_share = ops.text("from-share");
    let fetch = ["bundle", "fetch", "--file", &file, "--anchors", &kept, "--site"];
    assert_eq!(ops.run(&[&fetch[..], &[&from_share]].concat()).ok()["seq"], 1);
    assert_eq!(ops.run(&[&fetch[..], &[&from_box]].concat()).refused(), "site-exists");
}

#[test]
fn all_signers_lost_custodians_accept_new_anchors_by_their_fingerprint_alone() {
    let (ops, alpha, token) = serving();
    drop(alpha);
    let signers =
        ops.on_site(&["site", "signers", "--only", &ops.text("s2.pub"), "--threshold", "1"]);
    let fingerprint = signers.ok()["anchors"].as_str().expect("a fingerprint").to_owned();
    // The image with the new anchors; its measurement is the same here.
    ops.list_image().expect("an image");
    let new = ops.boot().expect("a box with the new anchors");
    ops.add("alpha", &new, &new.ek.clone(), &["--replace"]).ok();
    let s2 = ops.text("s2");
    ops.on_site(&["bundle", "sign", "--key", &s2, "--yes"]).ok();
    ops.on_site(&["bundle", "push", "--host", "alpha"]).ok();
    let file = request(&ops);
    let refused = ops.seal(&file, "ann", (1, 1), &[]);
    assert_eq!(refused.refused(), "anchors-changed");
    assert!(refused.stdout.matches("SHA256:").count() >= 4, "old and new signers: {refused:?}");
    let other = Digest::sha256(b"other").to_string();
    let wrong = ops.seal(&file, "ann", (1, 1), &["--accept-anchors", &other]);
    assert_eq!(wrong.refused(), "anchors-changed");
    for name in ["ann", "bob"] {
        let accept = ["--accept-anchors", &fingerprint];
        assert_eq!(ops.seal(&file, name, (1, 1), &accept).ok()["anchors_accepted"], true);
        // Remembered: from now on they are the ones that this custodian knows.
        assert_eq!(ops.seal(&file, name, (1, 1), &[]).ok()["anchors_accepted"], false);
    }
    assert_eq!(push(&ops, &["ann", "bob"]).ok()["phase"], "operational");
    assert!(decrypts(&ops, "alpha", &new, &token));
}

#[test]
fn a_custodian_with_a_token_is_told_to_touch_it_by_its_plugin() {
    let (ops, alpha, token) = serving();
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).expect("random bytes");
    let identity = AgeIdentity::new(secret);
    fs::write(ops.path("tess.age"), identity.as_token()).expect("written");
    let Recipient::AgeX25519(key) = identity.recipient();
    let tess = format!("tess={}", format_recipient(&key));
    ops.on_site(&["genesis", "ask", "--add", &tess]).ok();
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    ops.genesis(&["ann", "bob", "cyd", "tess"]);
    ops.on_site(&["bundle", "build", "--next"]).ok();
    ops.sign();
    ops.as_ops(&["bundle", "push"]).ok();
    drop(alpha);
    let new = replaced(&ops);
    let file = request(&ops);
    let sealed = ops.seal(&file, "tess", (1, 2), &[]);
    assert!(sealed.stderr.contains("touch the token"), "{sealed:?}");
    sealed.ok();
    ops.seal(&file, "bob", (1, 2), &[]).ok();
    assert_eq!(push(&ops, &["tess", "bob"]).ok()["phase"], "operational");
    assert!(decrypts(&ops, "alpha", &new, &token));
}

#[test]
fn a_retired_box_destroys_what_it_holds_and_a_removed_one_is_listed_no_more() {
    let (ops, _alpha, _) = serving();
    let mut beta = second(&ops);
    let retire = ["host", "retire", "beta", "--yes"];
    assert_eq!(ops.on_site(&retire).ok()["written"], "changed");
    assert_eq!(ops.on_site(&retire).ok()["written"], "same");
    ops.sign();
    let pushed = ops.as_ops(&["bundle", "push"]).ok();
    assert_eq!(pushed[1]["answer"]["outcome"], "retired", "{pushed}");
    beta.reboot().expect("a reboot");
    let forward = ["forward", "--from", "alpha", "--to", "beta"];
    assert_eq!(ops.as_ops(&forward).refused(), "retired");
    beta.power_off().expect("off");
    // Its absence is nobody's failure any more.
    ops.as_ops(&["bundle", "push"]).ok();
    let remove = ["host", "remove", "beta", "--yes"];
    assert_eq!(ops.on_site(&remove).ok()["removed"], true);
    assert_eq!(ops.on_site(&remove).ok()["removed"], false);
    ops.sign();
    assert_eq!(ops.as_ops(&["bundle", "push"]).ok().as_array().map(Vec::len), Some(1));
    assert_eq!(ops.on_site(&remove).refused(), "no-such-host");
}

#[test]
fn another_operators_bundle_is_fetched_from_a_box_into_the_directory() {
    let (ops, _alpha, _) = serving();
    let path = ops.path("site/bundles/000002.bundle");
    let bundle = fs::read(&path).expect("a bundle");
    // This directory knows of bundle 1 alone.
    fs::remove_file(&path).expect("removed");
    let fetched = ops.on_host(&["bundle", "fetch"], "ops").ok();
    assert_eq!((&fetched["seq"], &fetched["written"]), (&json!(2), &json!("new")));
    assert!(fs::read(&path).expect("a bundle") == bundle);
    assert_eq!(ops.on_host(&["bundle", "fetch"], "ops").ok()["written"], "same");
    assert_eq!(ops.on_site(&["bundle", "fetch", "--host", "alpha"]).code, 2);
    let rails = ops.on_host(&["bundle", "fetch"], "rails");
    assert_eq!(rails.refused(), "not-permitted");
}
