//! The tool against a box: everything that a new site does, with the commands that it uses, from
//! `site init` to a decrypted value; and what goes wrong on the way, by name.

mod between;
mod ops;
mod recovery;
mod update;

use std::fs;

use between::between;
use casemate_formats::{digest::Digest, efi::variable::IMAGE_SECURITY};
use casemate_tests::firmware_log::Event;
use ops::{CUSTODIANS, Ops};
use serde_json::{Value, json};

fn call(ops: &Ops, host: &casemate_tests::host::Host, path: &str, body: &Value) -> (u16, Value) {
    ops.curl(host, path, body).expect("curl")
}

#[test]
fn a_site_comes_from_nothing_to_a_decrypted_value_and_decrypts_it_after_a_reboot() {
    let ops = Ops::new().expect("a site");
    let mut host = ops.boot().expect("a box");
    let ek = host.ek.clone();

    let added = ops.host_add(&host, &ek).ok();
    assert_eq!((&added["written"], &added["phase"]), (&json!("new"), &json!("unprovisioned")));
    assert_eq!(ops.host_add(&host, &ek).ok()["written"], "same");

    let locked = ops.bundle();
    assert_eq!((&locked["outcome"], &locked["phase"]), (&json!("in-force"), &json!("locked")));
    let again = ops.on_site(&["bundle", "push"]).ok();
    assert_eq!(again[0]["answer"]["outcome"], "again");

    let entered = ops.establish();
    assert_eq!(
        (&entered["outcome"], &entered["phase"]),
        (&json!("entered"), &json!("operational"))
    );

    let context = json!({ "column": "users.phone", "user": "7" });
    // "+49 30 901820"
    let value = "KzQ5IDMwIDkwMTgyMA==";
    let ask = json!({ "keyring": "pii", "context": context, "plaintext": value });
    let (status, encrypted) = call(&ops, &host, "/v1/encrypt", &ask);
    assert_eq!(status, 200, "{encrypted}");
    let decrypt = json!({ "token": encrypted["token"], "context": context });
    let (status, decrypted) = call(&ops, &host, "/v1/decrypt", &decrypt);
    assert_eq!((status, &decrypted["plaintext"]), (200, &json!(value)));

    host.reboot().expect("a reboot");
    let (status, decrypted) = call(&ops, &host, "/v1/decrypt", &decrypt);
    assert_eq!((status, &decrypted["plaintext"]), (200, &json!(value)));

    // Over the authority now: the box has a certificate of the site.
    let said = ops.on_host(&["status"], "ops").ok();
    assert_eq!(
        (&said["phase"], &said["seq"], &said["host"]),
        (&json!("operational"), &json!(2), &json!("alpha"))
    );
    let plain = ops.on_site(&["status", "--host", "alpha"]).ok();
    assert_eq!(plain["health"]["ready"], true);
}

#[test]
fn a_collector_verifies_keeps_and_acknowledges_the_log() {
    let ops = Ops::new().expect("a site");
    let mut host = ops.boot().expect("a box");
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    let follow = ["audit", "follow", "--into", "collected", "--once"];
    assert_eq!(ops.on_host(&follow, "audit").refused(), "wrong-phase");
    ops.establish();
    let context = json!({ "column": "users.phone", "user": "7" });
    let ask = json!({ "keyring": "pii", "context": context, "plaintext": "c2VjcmV0" });
    assert_eq!(call(&ops, &host, "/v1/encrypt", &ask).0, 200);

    // The open block closes while the collector waits; a second run has nothing more to fetch.
    let size = ops.on_host(&follow, "audit").ok()["size"].as_u64().expect("a size");
    assert!(size > 0, "no block was closed");
    // The log goes on after a reboot: the same origin, more blocks.
    host.reboot().expect("a reboot");
    let later = ops.on_host(&follow, "audit").ok()["size"].as_u64().expect("a size");
    assert!(later > size, "{later} blocks after {size}");
    let verified = ops.run(&["audit", "verify", "collected"]).ok();
    assert_eq!((verified.as_array().map(Vec::len), &verified[0]["size"]), (Some(1), &json!(later)));
    let shown = ops.run(&["audit", "show", "collected"]);
    assert_eq!(shown.code, 0);
    assert!(shown.stdout.contains("\"Item\""), "{}", shown.stdout);
    assert!(!shown.stdout.contains("c2VjcmV0") && !shown.stdout.contains("users.phone"));

    // A changed file is found, offline.
    let origin = verified[0]["origin"].as_str().expect("an origin");
    let block = ops.path(&format!("collected/{origin}/blocks/00000000.block"));
    let mut bytes = fs::read(&block).expect("a block");
    bytes[9] ^= 1;
    fs::write(&block, bytes).expect("written");
    assert_eq!(ops.run(&["audit", "verify", "collected"]).refused(), "audit-mismatch");
}

#[test]
fn a_box_whose_fingerprint_is_not_the_one_on_the_console_is_not_added() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    let other = Digest::sha256(b"another TPM").short();
    assert_eq!(ops.host_add(&host, &other).refused(), "endorsement-key");
    assert!(!ops.path("site/hosts/alpha.toml").exists());
    // Without --yes and without a person nothing is listed either.
    let address = host.address.to_string();
    let run = ops.on_site(&["host", "add", "alpha", "--address", &address, "--ek", &host.ek]);
    assert_eq!(run.code, 2);
    assert!(!ops.path("site/hosts/alpha.toml").exists());
}

#[test]
fn somebody_between_who_passes_everything_on_is_found_by_the_quoted_tls_key() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    let address = between(&host, Box::new(|answer| answer)).expect("somebody").to_string();
    let add = ["host", "add", "alpha", "--address", &address, "--ek", &host.ek, "--yes"];
    assert_eq!(ops.on_site(&add).refused(), "wrong-tls-key");
    assert!(!ops.path("site/hosts/alpha.toml").exists());
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    let push = ["bundle", "push", "--host", "alpha", "--address", &address];
    assert_eq!(ops.on_site(&push).refused(), "wrong-tls-key");
}

#[test]
fn an_answer_that_is_replayed_or_claims_another_tls_key_is_refused() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    let mut first: Option<Vec<u8>> = None;
    let replay = Box::new(move |answer| first.get_or_insert(answer).clone());
    let address = between(&host, replay).expect("somebody").to_string();
    let fetch = ["request", "fetch", "--from", &address, "-o", "first"];
    ops.run(&fetch).ok();
    let add = ["host", "add", "alpha", "--address", &address, "--ek", &host.ek, "--yes"];
    assert_eq!(ops.on_site(&add).refused(), "wrong-nonce");

    let claim = Box::new(|answer: Vec<u8>| {
        let mut answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["claims"]["tls_key"] = json!(Digest::sha256(b"the relay's").to_string());
        answer.to_string().into_bytes()
    });
    let address = between(&host, claim).expect("somebody").to_string();
    let add = ["host", "add", "alpha", "--address", &address, "--ek", &host.ek, "--yes"];
    assert_eq!(ops.on_site(&add).refused(), "quote-content");
}

#[test]
fn another_boot_application_is_shown_and_listed_and_a_new_one_is_refused() {
    let ops = Ops::new().expect("a site");
    let mut host = ops
        .boot_with(|log| log.events.insert(0, Event::application(Digest::sha256(b"a shell"))))
        .expect("a box");
    let added = ops.host_add(&host, &host.ek.clone()).ok();
    let shell = json!([Digest::sha256(b"a shell").to_string()]);
    assert_eq!(
        (&added["other_applications"], &added["record"]["boot_applications"]),
        (&shell, &shell)
    );
    assert_eq!(ops.bundle()["phase"], "locked");
    host.update_firmware(|log| {
        log.events.insert(0, Event::application(Digest::sha256(b"a boot kit")));
    });
    host.reboot().expect("a reboot");
    let address = host.address.to_string();
    let fetch = ["request", "fetch", "--host", "alpha", "--address", &address, "-o", "x"];
    assert_eq!(ops.on_site(&fetch).refused(), "boot-application");
}

#[test]
fn a_firmware_update_is_refused_until_host_add_lists_its_pcr_7_beside_the_old_one() {
    let ops = Ops::new().expect("a site");
    let mut host = ops.boot().expect("a box");
    let before = ops.host_add(&host, &host.ek.clone()).ok()["record"]["pcr7"].clone();
    ops.bundle();
    // Revocations by the vendor's update: another dbx, so another PCR 7.
    host.update_firmware(|log| {
        let dbx = Event::variable("dbx", &IMAGE_SECURITY, b"revocations");
        let empty = Event::variable("dbx", &IMAGE_SECURITY, b"");
        let at = log.events.iter().position(|event| *event == empty).expect("a dbx");
        log.events[at] = dbx;
    });
    host.reboot().expect("a reboot");
    let address = host.address.to_string();
    let push = ["bundle", "push", "--host", "alpha", "--address", &address];
    assert_eq!(ops.on_site(&push).refused(), "host-mismatch");
    let added = ops.host_add(&host, &host.ek.clone()).ok();
    assert_eq!((&added["written"], &added["phase"]), (&json!("changed"), &json!("locked")));
    let both = added["record"]["pcr7"].as_array().expect("a list").clone();
    assert_eq!((both.len(), &both[0]), (2, &before[0]));
    ops.on_site(&["bundle", "new"]).ok();
    let answer = ops.bundle();
    assert_eq!((&answer["outcome"], &answer["seq"]), (&json!("in-force"), &json!(2)));
}

#[test]
fn a_box_of_another_site_is_not_added() {
    let (ops, strangers) = (Ops::new().expect("a site"), Ops::new().expect("another"));
    let host = strangers.boot().expect("a box");
    assert_eq!(ops.host_add(&host, &host.ek.clone()).refused(), "secure-boot-keys");
}

#[test]
fn another_box_under_a_listed_name_and_address_is_refused_by_every_command() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    let other = ops.boot().expect("another box");
    let address = other.address.to_string();
    let push = ["bundle", "push", "--host", "alpha", "--address", &address];
    assert_eq!(ops.on_site(&push).refused(), "host-mismatch");
    let genesis = ["genesis", "run", "--address", &address];
    assert_eq!(ops.on_host(&genesis, "ops").refused(), "host-mismatch");
    assert!(!ops.path("site/genesis").exists());
    assert_eq!(ops.host_add(&other, &other.ek.clone()).refused(), "host-exists");
}

#[test]
fn a_kept_request_is_verified_offline_and_a_changed_one_is_refused() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    let address = host.address.to_string();
    let file = ops.text("alpha.request");
    let fetched = ops.run(&["request", "fetch", "--from", &address, "-o", &file]).ok();
    assert_eq!(fetched["verified"], false);
    assert_eq!(ops.run(&["request", "show", &file]).ok()["claims"]["phase"], "unprovisioned");
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    let verify = ["request", "verify", &file, "--host", "alpha"];
    ops.on_site(&verify).ok();
    let nonce = fetched["nonce"].as_str().expect("a nonce");
    ops.on_site(&[&verify[..], &["--nonce", nonce]].concat()).ok();
    let other = Digest::sha256(b"another question").to_string();
    let stale = ops.on_site(&[&verify[..], &["--nonce", &other]].concat());
    assert_eq!(stale.refused(), "wrong-nonce");

    let mut request: Value =
        serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    request["claims"]["tls_key"] = json!(other);
    fs::write(&file, request.to_string()).expect("written");
    assert_eq!(ops.on_site(&verify).refused(), "quote-content");
    // A listed box is verified before its request is kept.
    let kept = ["request", "fetch", "--host", "alpha", "-o", &file];
    assert_eq!(ops.on_site(&kept).ok()["verified"], true);
    ops.on_site(&verify).ok();
}

#[test]
fn genesis_needs_a_client_that_may_operate_and_the_newest_bundle_in_force() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    assert_eq!(ops.on_site(&["genesis", "run", "--host", "alpha"]).code, 2);
    assert_eq!(ops.on_host(&["genesis", "run"], "rails").refused(), "not-permitted");
    ops.on_site(&["bundle", "new"]).ok();
    ops.on_site(&["bundle", "build"]).ok();
    let (s1, s2) = (ops.text("s1"), ops.text("s2"));
    ops.on_site(&["bundle", "sign", "--key", &s1, "--key", &s2, "--yes"]).ok();
    assert_eq!(ops.on_host(&["genesis", "run"], "ops").refused(), "wrong-bundle");
    ops.on_site(&["bundle", "push", "--host", "alpha"]).ok();
    let made = ops.on_host(&["genesis", "run"], "ops").ok();
    assert_eq!(made["custodians"], CUSTODIANS.len());
    // It may be run again until it is acknowledged and in force.
    let again = ops.on_host(&["genesis", "run"], "ops").ok();
    assert_eq!(again["fingerprint"], made["fingerprint"]);
}

#[test]
fn nothing_secret_stands_in_the_tracked_part_of_the_site_or_in_what_the_tool_prints() {
    let ops = Ops::new().expect("a site");
    let host = ops.boot().expect("a box");
    let run = ops.host_add(&host, &host.ek.clone());
    assert!(!run.stdout.contains("PRIVATE") && !run.stderr.contains("PRIVATE"));
    let mut folders = vec![ops.folder().join("site")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.ends_with("private") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read(&path).expect("a file");
                let secret = text.windows(7).any(|w| w == b"PRIVATE");
                assert!(!secret, "{}", path.display());
            }
        }
    }
}

#[test]
fn a_missing_box_site_or_address_is_said_plainly_with_exit_code_2() {
    let ops = Ops::new().expect("a site");
    // Nothing listens on the discard port of loopback.
    let away = ops.run(&["request", "fetch", "--from", "127.0.0.1:9", "-o", "x"]);
    assert_eq!(away.code, 2);
    assert!(away.stdout.contains("unreachable"), "{away:?}");
    assert_eq!(ops.run(&["status", "--site", "nowhere", "--host", "alpha"]).code, 2);
    assert_eq!(ops.run(&["status"]).code, 2);
    assert_eq!(ops.run(&["host", "add", "alpha", "--address", "a b", "--ek", "x"]).code, 2);
}
