//! Nothing of plaintext, token, key or share stands where others can read it: problem documents, audit
//! blocks, the disk, what the box writes to standard error.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::{
    api::Blocks,
    digest::hex,
    share::{ShareFile, split::combine},
};
use casemate_tests::{
    calls::{context, decrypt_item, encrypt, encrypt_item},
    disk::TestDisk,
    host::{Host, Options, Until},
    site::PII,
};
use serde_json::json;

const PLAINTEXT: &[u8] = b"a very recognisable plaintext";
const ROW: &str = "a-very-recognisable-row";

/// The forms in which a value could stand somewhere.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let base64 = STANDARD.encode(value);
    // Without the last characters, which depend on what follows.
    let inner = base64[..base64.len() / 4 * 4 - 4].to_owned();
    vec![value.to_vec(), inner.into_bytes(), hex(value).into_bytes()]
}

fn assert_absent(haystack: &[u8], needles: &[(&str, Vec<u8>)], place: &str) {
    for (what, needle) in needles {
        assert!(needle.len() >= 8, "{what}: too short to be found by accident");
        assert!(!contains(haystack, needle), "{what} stands in {place}");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn problems_audit_blocks_and_disk_hold_no_plaintext_token_key_or_share() {
    let disk = TestDisk::blank(16 * 1024);
    let proxy = disk.clone();
    let mut host = Host::with(Options {
        until: Until::Locked,
        proxy: Some(Box::new(move |_| proxy.blocks())),
        ..Options::default()
    })
    .expect("a box");
    // Genesis, and what custodians alone can know of it.
    let answer = host.client("operate").and_then(|c| c.post("/v1/genesis", b"{}"));
    let answer: casemate_formats::genesis::Answer =
        answer.expect("an answer").ok().expect("a genesis answer");
    let shares: Vec<_> = host
        .site
        .custodians
        .iter()
        .zip(&answer.shares)
        .map(|(custodian, file)| {
            let share = custodian.decrypt(file).expect("its own share");
            ShareFile::decode(&share).expect("a share file").share
        })
        .collect();
    let root = combine(&shares[..2]).expect("two of three");
    host.establish().expect("the same root, acknowledged");

    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, ROW, PLAINTEXT).expect("a token");
    let body = token.rsplit('.').next().expect("four parts").to_owned();
    let mut needles: Vec<(&str, Vec<u8>)> = Vec::new();
    needles.extend(forms(PLAINTEXT).into_iter().map(|form| ("the plaintext", form)));
    needles.extend(forms(&*root).into_iter().map(|form| ("the root", form)));
    for share in &shares {
        needles.extend(forms(&share.expose_bytes()[1..]).into_iter().map(|form| ("a share", form)));
    }
    needles.push(("the token", body.clone().into_bytes()));
    needles.push(("a context value", ROW.as_bytes().to_vec()));

    let mut problems = Vec::new();
    for (path, body) in [
        ("/v1/decrypt", decrypt_item(&token, &context("other"))),
        ("/v1/decrypt", decrypt_item(&token, &json!({ "column": ROW }))),
        ("/v1/decrypt", decrypt_item(&token, &json!({ "column": "c", "row": "1", "x": ROW }))),
        (
            "/v1/decrypt",
            json!({ "token": token, "context": {}, "unknown": STANDARD.encode(PLAINTEXT) }),
        ),
        ("/v1/encrypt", encrypt_item("nowhere", &context(ROW), PLAINTEXT)),
        ("/v1/encrypt", encrypt_item(PII, &json!({}), PLAINTEXT)),
        ("/v1/encrypt", json!({ "plaintext": String::from_utf8_lossy(PLAINTEXT) })),
        ("/v1/encrypt", json!({ "keyring": { "x": token }, "plaintext": "" })),
        (&*format!("/v1/{body}"), json!({})),
    ] {
        let answer = web.post(path, body.to_string().as_bytes()).expect("an answer");
        assert_ne!(answer.code().expect("a problem"), "ok");
        problems.extend(answer.body);
    }
    let broken = format!("{{\"token\":\"{token}\",\"context\":{{\"row\":\"{ROW}\"");
    problems.extend(web.post("/v1/decrypt", broken.as_bytes()).expect("an answer").body);
    assert_absent(&problems, &needles, "a problem document");

    // Values come back, so that the log has seen them; then everything that collectors get.
    let item = decrypt_item(&token, &context(ROW)).to_string();
    let answer = web.post("/v1/decrypt", item.as_bytes()).expect("an answer");
    assert!(contains(&answer.body, &forms(PLAINTEXT)[1]), "the search finds what is there");
    let audit = host.client("audit").expect("a client");
    let mut blocks = Vec::new();
    for from in 0..100 {
        let path = format!("/v1/audit/blocks?from={from}&wait=3");
        let found: Blocks = audit.get(&path).expect("an answer").ok().expect("blocks");
        let Some(first) = found.blocks.into_iter().next() else { break };
        blocks.extend(first.records);
    }
    assert!(!blocks.is_empty());
    assert_absent(&blocks, &needles, "an audit block");
    let whole: Vec<u8> = disk.written().into_iter().flat_map(|unit| disk.unit(unit)).collect();
    assert!(whole.len() > 20_000, "only {} bytes on the disk", whole.len());
    assert_absent(&whole, &needles, "the disk");
    let status = host.client("monitor").and_then(|c| c.get("/v1/status")).expect("an answer");
    assert_absent(&status.body, &needles, "the status");
}

/// A box in a process of its own, so that everything it writes is seen.
#[test]
fn what_the_box_writes_to_its_output_holds_nothing_of_the_kind() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_host"))
        .arg("--folder")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the box starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    let mut address = String::new();
    while !said.ends_with("ready\n") {
        let before = said.len();
        assert!(out.read_line(&mut said).expect("a line") > 0, "{said}");
        if let Some(found) = said[before..].strip_prefix("address: ") {
            address = found.trim().to_owned();
        }
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let call = |path: &str, body: &str| {
        let done = Command::new("curl")
            .args(["-sS", "--cacert", &at("authority.crt"), "--cert", &at("web.crt")])
            .args(["--key", &at("web.key"), "-H", "Content-Type: application/json"])
            .args(["--data-binary", body, &format!("https://{address}{path}")])
            .output()
            .expect("curl");
        String::from_utf8(done.stdout).expect("JSON")
    };
    let item = encrypt_item(PII, &context(ROW), PLAINTEXT).to_string();
    let token: serde_json::Value =
        serde_json::from_str(&call("/v1/encrypt", &item)).expect("a token");
    let token = token["token"].as_str().expect("a token").to_owned();
    assert!(
        call("/v1/decrypt", &decrypt_item(&token, &context(ROW)).to_string()).contains("plaintext")
    );
    for wrong in [decrypt_item(&token, &context("x")).to_string(), "{".to_owned()] {
        call("/v1/decrypt", &wrong);
    }
    drop(child.stdin.take());
    let mut errors = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    out.read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success(), "{errors}");
    let key = std::fs::read_to_string(at("web.key")).expect("the client's key");
    let key: String = key.lines().filter(|line| !line.starts_with('-')).take(1).collect();
    let mut needles: Vec<(&str, Vec<u8>)> = vec![
        ("the token", token.rsplit('.').next().expect("four parts").as_bytes().to_vec()),
        ("a context value", ROW.as_bytes().to_vec()),
        ("a client's key", key.into_bytes()),
    ];
    needles.extend(forms(PLAINTEXT).into_iter().map(|form| ("the plaintext", form)));
    assert_absent(said.as_bytes(), &needles, "standard output");
    assert_absent(errors.as_bytes(), &needles, "standard error");
}
