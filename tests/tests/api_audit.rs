//! No durable record, no answer; and every item of every call stands in the log that collectors get,
//! also what was refused.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::{
    api::{Blocks, Collected, Health},
    audit::record::{Event, Item, Operation, Outcome, Record},
};
use casemate_tests::{
    calls::{context, decrypt, decrypt_item, encrypt, encrypt_item, plaintext},
    client::Client,
    disk::TestDisk,
    host::{Host, Options},
    site::{NOTES, PII},
};
use serde_json::json;

const UNITS: u64 = 16 * 1024;

fn on(disk: &TestDisk) -> Host {
    let disk = disk.clone();
    let proxy = Box::new(move |_| disk.blocks());
    Host::with(Options { proxy: Some(proxy), ..Options::default() }).expect("a box")
}

/// Every record that collectors get now; `wait` lets the open block close.
fn records(audit: &Client, from: &mut u64) -> Vec<Record> {
    let path = format!("/v1/audit/blocks?from={from}&wait=20");
    let blocks: Blocks = audit.get(&path).expect("an answer").ok().expect("blocks");
    let mut out = Vec::new();
    for block in blocks.blocks {
        assert_eq!(block.number, *from);
        *from += 1;
        out.extend(Record::decode_all(&block.records).expect("records"));
    }
    out
}

fn items(records: Vec<Record>) -> Vec<Item> {
    records
        .into_iter()
        .filter_map(|record| match record.event {
            Event::Item(item) => Some(item),
            _ => None,
        })
        .collect()
}

#[test]
fn when_the_disk_fails_there_is_no_plaintext_and_no_token() {
    let disk = TestDisk::blank(UNITS);
    let host = on(&disk);
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"the value itself").expect("a token");
    disk.fail(true);
    let encoded = STANDARD.encode(b"the value itself");
    let one = decrypt_item(&token, &context("1"));
    let new = encrypt_item(PII, &context("1"), b"the value itself");
    for (path, body) in [
        ("/v1/decrypt", one.clone()),
        ("/v1/decrypt/batch", json!({ "items": [one.clone(), one] })),
        ("/v1/encrypt", new.clone()),
        ("/v1/encrypt/batch", json!({ "items": [new] })),
        // Also a refusal is not given without its record.
        ("/v1/decrypt", json!({ "token": "nonsense", "context": {} })),
        ("/v1/decrypt", json!("nonsense")),
    ] {
        let answer = web.post(path, body.to_string().as_bytes()).expect("an answer");
        assert_eq!(answer.code().expect("a problem"), "audit-unavailable", "{path}");
        assert_eq!(answer.status, 503);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(&encoded) && !text.contains("cm1."), "{text}");
    }
    let answer = host.nobody().and_then(|c| c.get("/readyz")).expect("an answer");
    assert_eq!(answer.status, 503);
    let health: Health = serde_json::from_slice(&answer.body).expect("health");
    assert_eq!(health.reasons, ["audit-unavailable"]);
    assert_eq!(host.nobody().and_then(|c| c.get("/livez")).expect("an answer").status, 200);
}

#[test]
fn a_box_whose_disk_failed_serves_again_after_a_reboot_and_lost_nothing_it_answered() {
    let disk = TestDisk::blank(UNITS);
    let mut host = on(&disk);
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    disk.fail(true);
    assert_eq!(decrypt(&mut web, "1", &token).expect("an answer").status, 503);
    drop(web);
    disk.fail(false);
    let again = disk.clone();
    host.reboot_on(Some(Box::new(move |_| again.blocks()))).expect("the disk works again");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let answer = decrypt(&mut web, "1", &token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the value"), b"value");
    let audit = host.client("audit").expect("a client");
    let found = items(records(&audit, &mut 0));
    assert!(found.iter().any(|item| item.operation == Operation::Encrypt), "{found:?}");
}

#[test]
fn each_item_is_recorded_with_how_it_ended_and_the_cause_that_the_client_is_not_told() {
    let host = Host::start().expect("a box");
    let web = host.client("web").expect("a client");
    let mut calls = web.connect().expect("a connection");
    let token = encrypt(&mut calls, "1", b"value").expect("a token");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut call = |id: &str, path: &str, body: String| {
        let headers =
            [("Content-Type", "application/json"), ("Request-Id", id), ("traceparent", trace)];
        calls.send("POST", path, &headers, Some(body.as_bytes())).expect("an answer")
    };
    call("done", "/v1/decrypt", decrypt_item(&token, &context("1")).to_string());
    call("row", "/v1/decrypt", decrypt_item(&token, &context("2")).to_string());
    call("form", "/v1/decrypt", decrypt_item("cm1.x", &context("1")).to_string());
    let version = token.replacen(".1.", ".7.", 1);
    call("version", "/v1/decrypt", decrypt_item(&version, &context("1")).to_string());
    call("names", "/v1/decrypt", decrypt_item(&token, &json!({})).to_string());
    call("parse", "/v1/decrypt", "{".to_owned());
    let note = encrypt_item(NOTES, &json!({ "user": "4711" }), b"note");
    call("note", "/v1/encrypt", note.to_string());
    let two =
        json!({ "items": [decrypt_item(&token, &context("1")), decrypt_item("x", &json!({}))] });
    call("batch", "/v1/decrypt/batch", two.to_string());
    let monitor = host.client("monitor").and_then(|c| c.connect()).expect("a connection");
    let mut monitor = monitor;
    let role = [("Content-Type", "application/json"), ("Request-Id", "role")];
    monitor.send("POST", "/v1/decrypt", &role, Some(b"{}")).expect("an answer");

    let audit = host.client("audit").expect("a client");
    let mut from = 0;
    let mut found: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    while !found.contains_key("role") {
        for item in items(records(&audit, &mut from)) {
            found.entry(item.request.as_str().to_owned()).or_default().push(item);
        }
    }
    let outcome = |id: &str| -> Vec<String> {
        let shown = |item: &Item| match &item.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Refused(code) => format!("refused {}", code.as_str()),
            Outcome::Invalid(cause) => format!("invalid {}", cause.as_str()),
        };
        found.get(id).expect("recorded").iter().map(shown).collect()
    };
    assert_eq!(outcome("done"), ["done"]);
    assert_eq!(outcome("row"), ["invalid token-tag"]);
    assert_eq!(outcome("form"), ["invalid token-malformed"]);
    assert_eq!(outcome("version"), ["invalid token-version"]);
    assert_eq!(outcome("names"), ["refused context-names"]);
    assert_eq!(outcome("parse"), ["refused malformed-request"]);
    assert_eq!(outcome("batch"), ["done", "invalid token-malformed"]);
    assert_eq!(outcome("role"), ["refused not-permitted"]);
    let done = &found["done"][0];
    assert_eq!((done.client.as_str(), done.bytes), ("web", 5));
    assert_eq!(done.keyring.as_ref().map(|k| k.as_str()), Some(PII));
    assert_eq!(done.version, Some(1));
    assert!(done.day.is_some() && done.trace.is_some() && done.context.is_some());
    assert_eq!(done.context, found["batch"][0].context, "equal contexts look equal");
    assert_ne!(done.context, found["row"][0].context);
    assert_eq!(found["row"][0].bytes, 0);
    assert!(done.subject.is_none() && found["note"][0].subject.is_some());
    assert_eq!(found["role"][0].client.as_str(), "monitor");
}

#[test]
fn collectors_wait_for_blocks_acknowledge_them_and_are_told_what_is_not_there() {
    let host = Host::start().expect("a box");
    let audit = host.client("audit").expect("a client");
    let mut from = 0;
    records(&audit, &mut from);
    let waiting = audit.clone();
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let came = std::thread::scope(|scope| {
        let mut next = from;
        let waiting = scope.spawn(move || items(records(&waiting, &mut next)));
        encrypt(&mut web, "1", b"value").expect("a token");
        waiting.join().expect("no panic")
    });
    assert!(!came.is_empty(), "the waiting collector gets the new record");
    let collected = |next: u64| {
        let body = serde_json::to_vec(&Collected { next }).expect("JSON");
        let answer = audit.post("/v1/audit/collected", &body).expect("an answer");
        answer.code().expect("a sound answer")
    };
    assert_eq!(collected(1), "ok");
    let code = |path: &str| audit.get(path).and_then(|answer| answer.code()).expect("an answer");
    assert_eq!(code("/v1/audit/blocks?from=99999"), "beyond-head");
    for wrong in ["", "?from=x", "?from=1&from=2", "?from=1&colour=red", "?wait=1"] {
        assert_eq!(code(&format!("/v1/audit/blocks{wrong}")), "malformed-request", "{wrong}");
    }
    let note = audit.get("/v1/audit/checkpoint").expect("an answer");
    assert_eq!(note.header("content-type"), Some("text/plain; charset=utf-8"));
    let text = String::from_utf8(note.body).expect("text");
    assert!(text.starts_with("example/box1/"), "{text}");
}
