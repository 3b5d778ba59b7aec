//! The HTTPS clients that people really use accept the box: its chain, its protocol, its way of
//! closing a connection.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use casemate_tests::{
    alone::alone,
    calls::{context, encrypt_item},
    host::Host,
    site::{HOST, PII},
};
use tempfile::TempDir;

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client is installed (curl, ruby)");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("it ends")
}

#[test]
fn curl_works_with_authority_and_client_certificate_and_without_either_is_refused() {
    let host = Host::start().expect("a box");
    let folder = TempDir::new().expect("a folder");
    host.write_files(folder.path()).expect("files");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let name = format!("{HOST}.example.casemate:{}", host.address.port());
    let curl = |arguments: &[&str], body: &str| {
        let mut command = alone("curl");
        command.args(["-sS", "--connect-to"]).arg(format!("{name}:{}", host.address));
        command.args(arguments);
        run(&mut command, body)
    };
    let (ca, cert, key) = (file("authority.crt"), file("web.crt"), file("web.key"));
    let certified = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let url = |path: &str| format!("https://{name}{path}");
    let item = encrypt_item(PII, &context("1"), b"value").to_string();
    let (encrypt, livez) = (url("/v1/encrypt"), url("/livez"));
    let json = ["-H", "Content-Type: application/json", "--data-binary", "@-"];
    let done = curl(&[&certified[..], &json, &[&encrypt]].concat(), &item);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains(r#""token":"cm1.pii.1."#), "{text} {done:?}");
    // By its address as well: it stands in the certificate.
    let by_address = format!("https://{}/livez", host.address);
    assert!(curl(&["--cacert", &ca, &by_address], "").status.success());
    // 60: the peer's certificate cannot be authenticated with known authorities.
    assert_eq!(curl(&[&livez], "").status.code(), Some(60));
    assert_eq!(curl(&["--cacert", &ca, "--tls-max", "1.2", &livez], "").status.code(), Some(35));
}

#[test]
fn rubys_net_http_works_keeps_its_connection_and_notices_when_it_is_closed() {
    let mut host = Host::start().expect("a box");
    let folder = TempDir::new().expect("a folder");
    host.write_files(folder.path()).expect("files");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/net_http.rb");
    let mut child = alone("ruby")
        .args([script, &host.address.ip().to_string(), &host.address.port().to_string()])
        .arg(format!("{HOST}.example.casemate"))
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("ruby is installed");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line.trim(), "served");
    // Without TLS's close Net::HTTP raises at its next POST; with it, it connects anew.
    host.power_off().expect("the port closes");
    child.stdin.take().expect("a pipe").write_all(b"\n").expect("written");
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line.trim(), "noticed the close and tried anew");
    assert!(child.wait().expect("it ends").success());
}
