//! Every wrong call is refused, by the name that it deserves, and by nothing else.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_core::routes;
use casemate_formats::{
    digest::Name,
    request::{Ask, Request, credential},
};
use casemate_tests::{
    alone::alone,
    calls::{context, decrypt, decrypt_item, encrypt, encrypt_item, plaintext},
    client::{Answer, Connection},
    host::Host,
    site::{NOTES, PII},
};
use serde_json::{Value, json};

/// The header of JSON.
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn code(answer: &Answer) -> String {
    answer.code().expect("a sound problem document")
}

fn post(connection: &mut Connection, path: &str, body: &Value) -> String {
    code(&connection.post(path, body.to_string().as_bytes()).expect("an answer"))
}

#[test]
fn callers_are_refused_by_what_they_lack() {
    let host = Host::start().expect("a box");
    let item = encrypt_item(PII, &context("1"), b"value");
    let call = |connection: &mut Connection| post(connection, "/v1/encrypt", &item);
    let connect = |client: anyhow::Result<casemate_tests::client::Client>| {
        client.and_then(|client| client.connect()).expect("a connection")
    };
    assert_eq!(call(&mut connect(host.nobody())), "no-client-certificate");
    assert_eq!(call(&mut connect(host.stranger())), "untrusted-client");
    assert_eq!(call(&mut connect(host.client("far"))), "wrong-source");
    assert_eq!(call(&mut connect(host.client("reader"))), "not-permitted");
    assert_eq!(call(&mut connect(host.client("operate"))), "not-permitted");
    assert_eq!(call(&mut connect(host.client("writer"))), "ok");
    // Roles are per keyring: web may use both, the others one.
    let other = encrypt_item(NOTES, &json!({ "user": "7" }), b"value");
    assert_eq!(post(&mut connect(host.client("writer")), "/v1/encrypt", &other), "not-permitted");
    assert_eq!(post(&mut connect(host.client("web")), "/v1/encrypt", &other), "ok");
}

#[test]
fn a_body_is_refused_for_its_form() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let sound = encrypt_item(PII, &context("1"), b"value");
    assert_eq!(post(&mut web, "/v1/encrypt", &sound), "ok");
    let with = |name: &str, value: Value| {
        let mut item = sound.clone();
        item[name] = value;
        item.to_string().into_bytes()
    };
    let without = |name: &str| {
        let mut item = sound.clone();
        item.as_object_mut().expect("an object").remove(name);
        item.to_string().into_bytes()
    };
    let duplicate = sound.to_string().replacen('{', r#"{"keyring":"pii","#, 1).into_bytes();
    let twice_in_context =
        sound.to_string().replacen(r#""row":"1""#, r#""row":"1","row":"1""#, 1).into_bytes();
    let mut not_utf8 = sound.to_string().into_bytes();
    let at = not_utf8.windows(5).position(|w| w == b"users").expect("a value");
    not_utf8[at] = 0xff;
    for (what, body) in [
        ("unknown field", with("colour", json!("red"))),
        ("duplicate key", duplicate),
        ("duplicate context name", twice_in_context),
        ("base64 without padding", with("plaintext", json!("dmFsdWU"))),
        ("base64 with url alphabet", with("plaintext", json!("_-8="))),
        ("base64 with trailing bits", with("plaintext", json!("dmFsdWV="))),
        ("base64 with a space", with("plaintext", json!("dmFs dWU="))),
        ("wrong UTF-8", not_utf8),
        ("missing field", without("plaintext")),
        ("wrong type", with("keyring", json!(7))),
        ("null", with("keyring", Value::Null)),
        ("context value of another type", with("context", json!({ "column": 1, "row": "1" }))),
        ("nested context", with("context", json!({ "column": {}, "row": "1" }))),
        ("two values", [sound.to_string(), sound.to_string()].concat().into_bytes()),
        ("an array", b"[]".to_vec()),
        ("nothing", Vec::new()),
        ("deep nesting", [b"[".repeat(10_000), b"]".repeat(10_000)].concat()),
        ("a lone surrogate", sound.to_string().replace("users", r"\ud800").into_bytes()),
    ] {
        let answer = web.post("/v1/encrypt", &body).expect("an answer");
        assert_eq!(code(&answer), "malformed-request", "{what}");
    }
    assert_eq!(post(&mut web, "/v1/encrypt", &sound), "ok", "the connection goes on");
}

#[test]
fn limits_are_checked_before_anything_is_kept() {
    let host = Host::start().expect("a box");
    let web = host.client("web").expect("a client");
    let connect = || web.connect().expect("a connection");
    let limit = routes::find("POST", "/v1/encrypt").expect("a route").body_limit;

    // Refused by its Content-Length, before one byte of the body is sent.
    let mut connection = connect();
    let head = format!(
        "POST /v1/encrypt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        limit + 1
    );
    connection.write(head.as_bytes()).expect("sent");
    assert_eq!(code(&connection.read_answer().expect("an answer")), "body-too-large");
    assert_eq!(connection.read_to_close().expect("a TLS close"), b"");

    let chunked = [JSON, ("Transfer-Encoding", "chunked")];
    let answer = connect().send("POST", "/v1/encrypt", &chunked, None).expect("an answer");
    assert_eq!(code(&answer), "length-required");

    let long = "x".repeat(9 * 1024);
    let answer = connect().send("GET", "/livez", &[("X-Long", &long)], None).expect("an answer");
    assert_eq!(code(&answer), "headers-too-large");
    let many: Vec<(&str, &str)> = (0..80).map(|_| ("X-Many", "x")).collect();
    let answer = connect().send("GET", "/livez", &many, None).expect("an answer");
    assert_eq!(code(&answer), "headers-too-large");
    // Beyond the buffer HTTP's own answer has no document, and the connection ends.
    let endless = "x".repeat(64 * 1024);
    let mut connection = connect();
    let _ = connection.write(format!("GET /livez HTTP/1.1\r\nX: {endless}\r\n\r\n").as_bytes());
    assert_eq!(connection.read_answer().map_or(431, |answer| answer.status), 431);

    for (kind, encoding) in [("text/plain", None), ("application/json", Some("gzip"))] {
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(encoding.map(|encoding| ("Content-Encoding", encoding)));
        let answer =
            connect().send("POST", "/v1/encrypt", &headers, Some(b"{}")).expect("an answer");
        assert_eq!(code(&answer), "unsupported-media-type");
    }
    let answer = connect().send("GET", "/livez", &[], Some(b"x")).expect("an answer");
    assert_eq!(code(&answer), "body-too-large");
}

#[test]
fn paths_and_methods_are_exactly_the_tables() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    for path in ["/", "/v1/encrypt/", "/v1//encrypt", "/V1/encrypt", "/v1/rewrap", "/v1/encrypt%20"]
    {
        let answer = web.send("POST", path, &[JSON], Some(b"{}")).expect("an answer");
        assert_eq!(code(&answer), "no-such-route", "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/v1/encrypt", "POST"),
        ("PUT", "/v1/bundle", "GET, POST"),
        ("DELETE", "/v1/keyrings", "GET"),
        ("OPTIONS", "/livez", "GET"),
        ("BREW", "/livez", "GET"),
    ] {
        let answer = web.send(method, path, &[], None).expect("an answer");
        assert_eq!(code(&answer), "method-not-allowed", "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow));
    }
    let answer = web.send("GET", "/v1/keyrings?all=1", &[], None).expect("an answer");
    assert_eq!(code(&answer), "malformed-request");
}

#[test]
fn keyring_and_context_are_refused_by_name_and_a_wrong_value_like_any_other_token() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let mut item = |keyring: &str, context: Value| {
        let item = encrypt_item(keyring, &context, b"value").to_string();
        web.post("/v1/encrypt", item.as_bytes()).expect("an answer")
    };
    assert_eq!(code(&item("nowhere", context("1"))), "not-permitted");
    assert_eq!(code(&item("NOT A NAME", context("1"))), "not-permitted");
    let missing = item(PII, json!({ "column": "users.email" }));
    assert_eq!(code(&missing), "context-names");
    assert!(String::from_utf8_lossy(&missing.body).contains("missing: row"));
    let extra = item(PII, json!({ "column": "c", "row": "1", "tenant": "acme-secret" }));
    assert_eq!(code(&extra), "context-names");
    let text = String::from_utf8_lossy(&extra.body).into_owned();
    assert!(text.contains("extra: tenant") && !text.contains("acme-secret"), "{text}");
    assert_eq!(code(&item(PII, json!({}))), "context-names");
    let long = "x".repeat(257);
    assert_eq!(code(&item(PII, json!({ "column": "c", "row": long }))), "context-too-large");

    let mut wrong = |token: &str, context: Value| {
        let item = decrypt_item(token, &context).to_string();
        code(&web.post("/v1/decrypt", item.as_bytes()).expect("an answer"))
    };
    assert_eq!(wrong(&token, context("2")), "invalid-token");
    assert_eq!(wrong(&token, json!({ "column": "users.name", "row": "1" })), "invalid-token");
    assert_eq!(wrong(&token, json!({ "row": "1" })), "context-names");
    assert_eq!(wrong(&token, context("1")), "ok");
}

#[test]
fn every_byte_of_a_token_counts_and_every_failure_looks_the_same() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let version = "cm1.pii.".len()..token.rfind('.').expect("four parts");
    let keyring = "cm1.".len().."cm1.pii".len();
    for at in 0..token.len() {
        for flipped in [1, 2, 0x20] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= flipped;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let answer = decrypt(&mut web, "1", &changed).expect("an answer");
            // Another keyring's name is no token's secret: the client has no role there.
            let expected = match keyring.contains(&at) {
                true if code(&answer) == "not-permitted" => "not-permitted",
                _ => "invalid-token",
            };
            assert_eq!(code(&answer), expected, "byte {at} ^ {flipped}: {changed}");
        }
    }
    for changed in [
        format!("{}2{}", &token[..version.start], &token[version.end..]),
        format!("{}01{}", &token[..version.start], &token[version.end..]),
        format!("{token}="),
        format!("{token}A"),
        format!(" {token}"),
        token[..token.len() - 1].to_owned(),
        token.replacen("cm1", "cm2", 1),
        "cm1.pii.1.".to_owned(),
        String::new(),
    ] {
        let answer = decrypt(&mut web, "1", &changed).expect("an answer");
        assert_eq!(code(&answer), "invalid-token", "{changed}");
        assert!(!answer.body.windows(6).any(|w| w == b"detail"), "the cause is for the log alone");
    }
    assert_eq!(
        plaintext(&decrypt(&mut web, "1", &token).expect("an answer")).expect("sound"),
        b"value"
    );
}

#[test]
fn a_token_of_another_keyring_is_refused() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    // Renamed to a keyring that this client may use: the key is another one.
    let renamed = token.replacen("cm1.pii.", "cm1.notes.", 1);
    let item = decrypt_item(&renamed, &json!({ "user": "1" }));
    assert_eq!(post(&mut web, "/v1/decrypt", &item), "invalid-token");
    // A client without a role there learns no more.
    let mut notes = host.client("notes").and_then(|c| c.connect()).expect("a connection");
    assert_eq!(
        post(&mut notes, "/v1/decrypt", &decrypt_item(&token, &context("1"))),
        "not-permitted"
    );
}

#[test]
fn a_batch_has_one_to_a_thousand_items() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let item = encrypt_item(PII, &context("1"), b"value");
    for (count, expected) in [(0, "too-many-items"), (1000, "ok"), (1001, "too-many-items")] {
        let body = json!({ "items": vec![item.clone(); count] });
        assert_eq!(post(&mut web, "/v1/encrypt/batch", &body), expected, "{count} items");
    }
    let item = decrypt_item("cm1.pii.1.AAAA", &context("1"));
    let body = json!({ "items": vec![item; 1001] });
    assert_eq!(post(&mut web, "/v1/decrypt/batch", &body), "too-many-items");
}

#[test]
fn plain_http_is_closed_cleanly_and_tls_1_2_is_refused() {
    let host = Host::start().expect("a box");
    let mut plain = TcpStream::connect(host.address).expect("connected");
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).expect("an end, not a reset");
    // A TLS alert record (21), and no HTTP.
    assert_eq!(answer.first(), Some(&21), "{answer:?}");

    for (version, expected) in [("-tls1_2", false), ("-tls1_3", true)] {
        let done = alone("openssl")
            .args(["s_client", version, "-connect", &host.address.to_string()])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(text.contains("Cipher is TLS_AES"), expected, "{version}: {text}");
        if expected {
            assert!(!text.contains("New Session Ticket"), "{text}");
        }
    }
}

#[test]
fn the_bundle_in_force_brought_again_makes_nothing_anew() {
    let host = Host::start().expect("a box");
    let before = host.house().snapshot();
    let signed = host.site.sign(host.bundle.as_ref().expect("a bundle")).expect("signed");
    assert_eq!(host.push(&signed).expect("taken").outcome, "again");
    assert!(std::sync::Arc::ptr_eq(&before, &host.house().snapshot()), "keyrings were derived");
}

#[test]
fn a_bundle_that_is_none_or_too_large_changes_nothing() {
    let host = Host::start().expect("a box");
    let octets = [("Content-Type", "application/octet-stream")];
    let push = |bytes: &[u8]| {
        let mut anyone = host.nobody().and_then(|c| c.connect()).expect("a connection");
        code(&anyone.send("POST", "/v1/bundle", &octets, Some(bytes)).expect("an answer"))
    };
    assert_eq!(push(b""), "malformed-bundle");
    let signed = host.site.sign(host.bundle.as_ref().expect("a bundle")).expect("signed");
    assert_eq!(push(&signed[..signed.len() - 1]), "truncated");
    assert_eq!(push(&[&signed[..], &[0]].concat()), "trailing-bytes");
    assert_eq!(push(b"not a bundle, but long enough to be looked at"), "malformed-bundle");
    assert_eq!(push(&vec![0; 10 * 1024 * 1024]), "too-large");
    let mut lower = host.bundle.clone().expect("a bundle");
    lower.site.seq -= 1;
    assert_eq!(push(&host.site.sign(&lower).expect("signed")), "seq-lower");
    let mut fork = host.bundle.clone().expect("a bundle");
    fork.site.issued += 1;
    assert_eq!(push(&host.site.sign(&fork).expect("signed")), "seq-fork");
    let mut next = host.bundle.clone().expect("a bundle");
    next.site.seq += 1;
    assert_eq!(push(&host.site.sign_by(&next, &[0, 0]).expect("signed")), "too-few-signatures");
    let json = [("Content-Type", "application/json")];
    let mut anyone = host.nobody().and_then(|c| c.connect()).expect("a connection");
    let answer = anyone.send("POST", "/v1/bundle", &json, Some(b"{}")).expect("an answer");
    assert_eq!(code(&answer), "unsupported-media-type");
    let answer = host.client("operate").and_then(|c| c.post("/v1/genesis", b"{}"));
    assert_eq!(code(&answer.expect("an answer")), "genesis-not-asked");
    let attested = host.attest().expect("still the same box");
    assert_eq!(attested.claims.bundle, host.bundle.as_ref().expect("a bundle").digest());
}

#[test]
fn a_credential_is_answered_by_the_box_that_it_is_for_and_refused_by_name_otherwise() {
    let host = Host::start().expect("a box");
    let attested = host.attest().expect("attested");
    let secret = zeroize::Zeroizing::new([9; 32]);
    let mut random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).expect("random");
    let mut ask = |ak: &Name| {
        let credential = credential::make(&attested.ek, ak, &secret, &mut random).expect("an EK");
        let ask = Ask { nonce: [7; 32], credential: Some(credential) };
        let body = serde_json::to_vec(&ask).expect("JSON");
        host.nobody().and_then(|c| c.post("/v1/request", &body)).expect("an answer")
    };
    let answer: Request = ask(attested.ak.name()).ok().expect("its own keys");
    assert_eq!(answer.credential_answer, Some(credential::answer(&*secret, &[7; 32])));
    let mut other = attested.ak.name().as_bytes().to_vec();
    other[5] ^= 1;
    let other = Name::new(&other).expect("a name");
    assert_eq!(code(&ask(&other)), "wrong-credential");
    let garbled = json!({
        "nonce": STANDARD.encode([7; 32]),
        "credential": { "id_object": STANDARD.encode([0; 60]), "secret": STANDARD.encode([0; 70]) },
    });
    let answer = host.nobody().and_then(|c| c.post("/v1/request", garbled.to_string().as_bytes()));
    let code = code(&answer.expect("an answer"));
    assert!(["wrong-credential", "tpm-unavailable"].contains(&code.as_str()), "{code}");
    assert!(host.attest().is_ok(), "the TPM goes on");
}
