//! What the service promises to a client that does everything right: values come back, batches keep
//! their order, ids are echoed, a new bundle takes effect while others are served.

use std::sync::atomic::{AtomicBool, Ordering};

use casemate_formats::api::{Answers, Decrypted, Encrypted, Health, Keyrings, Status};
use casemate_tests::{
    calls::{context, decrypt, decrypt_item, encrypt, encrypt_item, plaintext},
    client::{Client, Trust},
    host::{Host, Options, Until},
    site::{NOTES, PII},
};
use serde_json::json;

#[test]
fn a_value_comes_back_also_after_a_reboot_with_nobody_at_hand() {
    let mut host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"alice@example.com").expect("a token");
    assert!(token.starts_with("cm1.pii.1."), "{token}");
    let answer = decrypt(&mut web, "1", &token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the value"), b"alice@example.com");
    drop(web);

    host.reboot().expect("the sealed root opens");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("the same authority");
    let answer = decrypt(&mut web, "1", &token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the value"), b"alice@example.com");
}

#[test]
fn batches_keep_their_order_echo_ref_and_answer_for_each_item() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let items: Vec<_> = (0..1000)
        .map(|n| {
            let mut item =
                encrypt_item(PII, &context(&n.to_string()), format!("value {n}").as_bytes());
            item["ref"] = json!(format!("r{n}"));
            item
        })
        .collect();
    let body = json!({ "items": items }).to_string();
    let answer = web.post("/v1/encrypt/batch", body.as_bytes()).expect("an answer");
    let tokens: Answers<Encrypted> = answer.ok().expect("1,000 tokens");
    let mut items: Vec<_> = tokens
        .items
        .iter()
        .enumerate()
        .map(|(n, answer)| {
            assert_eq!(answer.reference.as_deref(), Some(format!("r{n}").as_str()));
            let token = &answer.done.as_ref().expect("a token").token;
            decrypt_item(token, &context(&n.to_string()))
        })
        .collect();
    assert_eq!(items.len(), 1000);
    // One of another row, one that is no token, one with a name too many: the others stand.
    items[3]["context"] = context("4");
    items[4]["token"] = json!("cm1.pii.1.AAAA");
    items[5]["context"]["extra"] = json!("x");
    let body = json!({ "items": items }).to_string();
    let answer = web.post("/v1/decrypt/batch", body.as_bytes()).expect("an answer");
    let values: Answers<Decrypted> = answer.ok().expect("1,000 answers");
    for (n, answer) in values.items.iter().enumerate() {
        let code = answer.error.as_ref().map(|error| error.code.as_str());
        match n {
            3 | 4 => assert_eq!(code, Some("invalid-token")),
            5 => assert_eq!(code, Some("context-names")),
            _ => {
                assert_eq!(code, None);
                let value = &answer.done.as_ref().expect("a value").plaintext;
                assert_eq!(value.as_slice(), format!("value {n}").as_bytes());
            }
        }
        assert_eq!(answer.reference, None);
        assert_eq!(answer.done.is_some(), answer.error.is_none());
    }
}

#[test]
fn the_largest_value_fits_and_one_byte_more_is_refused_by_name() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let largest = vec![0xa5; 64 * 1024];
    let token = encrypt(&mut web, "1", &largest).expect("a token");
    let answer = decrypt(&mut web, "1", &token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the value"), largest);
    let item = encrypt_item(PII, &context("1"), &vec![0; 64 * 1024 + 1]);
    let answer = web.post("/v1/encrypt", item.to_string().as_bytes()).expect("an answer");
    assert_eq!(answer.code().expect("a problem"), "value-too-large");
    let token = encrypt(&mut web, "1", b"").expect("also nothing is a value");
    assert_eq!(plaintext(&decrypt(&mut web, "1", &token).expect("an answer")).expect("empty"), b"");
}

#[test]
fn keyrings_are_what_this_client_may_use() {
    let host = Host::start().expect("a box");
    let shown = |name| -> Keyrings {
        let answer = host.client(name).and_then(|c| c.get("/v1/keyrings")).expect("an answer");
        answer.ok().expect("keyrings")
    };
    let web = shown("web").keyrings;
    assert_eq!(web.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), [NOTES, PII]);
    assert_eq!(web[0].subject.as_deref(), Some("user"));
    assert_eq!(web[1].context, ["column", "row"]);
    assert_eq!(web[1].roles, ["encrypt", "decrypt"]);
    assert_eq!(shown("writer").keyrings[0].roles, ["encrypt"]);
    assert_eq!(shown("monitor").keyrings, []);
}

#[test]
fn status_and_readiness_say_where_the_box_stands() {
    let host = Host::start().expect("a box");
    let answer = host.client("monitor").and_then(|c| c.get("/v1/status")).expect("an answer");
    let status: Status = answer.ok().expect("a status");
    let bundle = host.bundle.as_ref().expect("a bundle");
    assert_eq!((status.phase.as_str(), status.reason), ("operational", None));
    assert_eq!((status.seq, status.bundle), (2, bundle.digest()));
    assert_eq!(status.host.as_deref(), Some("box1"));
    assert!(status.audit.available);
    let ready = host.nobody().and_then(|c| c.get("/readyz")).expect("an answer");
    let ready: Health = ready.ok().expect("ready");
    assert!(ready.ready && ready.reasons.is_empty(), "{ready:?}");

    let locked = Host::with(Options { until: Until::Locked, ..Options::default() }).expect("a box");
    let answer = locked.nobody().and_then(|c| c.get("/readyz")).expect("an answer");
    assert_eq!(answer.status, 503);
    let health: Health = serde_json::from_slice(&answer.body).expect("health");
    assert_eq!((health.phase.as_str(), health.reasons), ("locked", vec!["no-root".to_owned()]));
    assert_eq!(locked.nobody().and_then(|c| c.get("/livez")).expect("an answer").status, 200);
}

#[test]
fn ids_are_taken_over_and_otherwise_made() {
    let host = Host::start().expect("a box");
    let mut anyone = host.nobody().and_then(|c| c.connect()).expect("a connection");
    let mut id = |given: &str| {
        let headers = [("Request-Id", given)];
        let answer = anyone.send("GET", "/livez", &headers, None).expect("an answer");
        answer.header("request-id").expect("an id").to_owned()
    };
    assert_eq!(id("rails-7f.3_A"), "rails-7f.3_A");
    let made = id("not an id");
    assert!(made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    assert_ne!(id("not an id"), made);
}

#[test]
fn a_bundle_is_accepted_while_others_are_served_and_a_removal_takes_effect_at_once() {
    let mut host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let mut writer = host.client("writer").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    encrypt(&mut writer, "1", b"value").expect("listed so far");
    let done = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = decrypt(&mut web, "1", &token).expect("an answer");
                assert_eq!(plaintext(&answer).expect("never refused"), b"value");
                served += 1;
            }
            served
        });
        for _ in 0..5 {
            let mut next = host.bundle.clone().expect("a bundle");
            next.site.seq += 1;
            next.service.clients.retain(|client| client.name.as_str() != "writer");
            let accepted = host.accept(next).expect("accepted");
            assert_eq!(accepted.outcome, "in-force");
        }
        let same = host.bundle.clone().expect("a bundle");
        let again = host.accept(same).expect("accepted");
        assert_eq!(again.outcome, "again");
        done.store(true, Ordering::Relaxed);
        busy.join().expect("no panic")
    });
    assert!(served > 0);
    let item = encrypt_item(PII, &context("1"), b"value").to_string();
    let answer = writer.post("/v1/encrypt", item.as_bytes()).expect("an answer");
    assert_eq!(answer.code().expect("a problem"), "untrusted-client");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn the_bundle_in_force_is_given_back_to_those_who_run_the_site() {
    let host = Host::start().expect("a box");
    let answer = host.client("operate").and_then(|c| c.get("/v1/bundle")).expect("an answer");
    assert_eq!(answer.status, 200);
    let verified = casemate_formats::bundle::Verified::verify(&answer.body, &host.site.anchors);
    assert_eq!(Some(verified.expect("signed").bundle()), host.bundle.as_ref());
}

#[test]
fn before_the_root_the_quote_vouches_for_the_ports_key_and_afterwards_the_authority() {
    let host = Host::with(Options { until: Until::Locked, ..Options::default() }).expect("a box");
    let key = host.attest().expect("attested").claims.tls_key;
    let client = Client::new(host.address, &Trust::Key(key), None).expect("a client");
    assert_eq!(client.get("/livez").expect("the quoted key").status, 200);
    let wrong = Trust::Key(casemate_tests::host::other_digest());
    let client = Client::new(host.address, &wrong, None).expect("a client");
    assert!(client.get("/livez").is_err());

    let host = Host::start().expect("a box");
    let key = host.attest().expect("attested").claims.tls_key;
    let client = Client::new(host.address, &Trust::Key(key), None).expect("a client");
    assert_eq!(client.get("/livez").expect("the same key under a certificate").status, 200);
    assert_eq!(host.nobody().and_then(|c| c.get("/livez")).expect("the authority").status, 200);
}

#[test]
fn the_hybrid_exchange_is_agreed_on() {
    let host = Host::start().expect("a box");
    let connection = host.nobody().and_then(|c| c.connect()).expect("a connection");
    assert_eq!(connection.group(), Some(rustls::NamedGroup::X25519MLKEM768));
}
