//! Those who send slowly, or nothing, or in masses: they are closed or wait, and a listed client goes
//! on. No test here measures time; each asks for progress.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use casemate_formats::api::Blocks;
use casemate_tests::{
    calls::{decrypt, encrypt, plaintext},
    client::{Client, Connection, Trust},
    host::Host,
    identity::Identity,
};

/// Raises this process's limit of open files to what the kernel allows, for the tests that open
/// thousands of connections (both ends of them are ours).
fn many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
}

fn goes_on(web: &mut Connection, token: &str) {
    let answer = decrypt(web, "1", token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the value"), b"value");
}

#[test]
fn two_thousand_idle_connections_do_not_disturb_a_listed_client() {
    many_files();
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    // A thousand that say nothing, and a thousand that finished their handshake without a key.
    let mut silent = Vec::new();
    let mut strange = Vec::new();
    let nobody = host.nobody().expect("a client");
    for n in 0..1000 {
        silent.push(TcpStream::connect(host.address).expect("accepted"));
        // One that was pushed out during its handshake makes room for the next.
        strange.extend(nobody.connect().ok());
        if n % 100 == 0 {
            goes_on(&mut web, &token);
        }
    }
    assert!(strange.len() > 500, "{} handshakes", strange.len());
    goes_on(&mut web, &token);
    let mut late = host.client("web").and_then(|c| c.connect()).expect("a new connection as well");
    goes_on(&mut late, &token);
    let monitor = host.client("monitor").and_then(|c| c.get("/v1/status")).expect("an answer");
    assert_eq!(monitor.status, 200);
    drop((silent, strange));
}

/// A box in a process of its own, so that its memory is seen apart from its clients'.
#[test]
fn two_thousand_connections_fit_into_64_mib() {
    many_files();
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_host"))
        .arg("--folder")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the box starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut said = || lines.next().expect("a line").expect("text");
    let address = said().strip_prefix("address: ").expect("an address first").parse();
    let address = address.expect("an address");
    while said() != "ready" {}
    let resident = || -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.expect("the box runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        line.split_whitespace().nth(1).expect("a number").parse().expect("KiB")
    };
    let before = resident();
    let mut held = Vec::new();
    for name in ["web", "writer", "reader", "nobody"] {
        let identity = Identity::read(folder.path(), name).ok();
        let client = Client::new(address, &Trust::Anyone, identity.as_ref()).expect("a client");
        for _ in 0..500 {
            let mut connection = client.connect().expect("a connection");
            // Each has carried a request: its buffers are there.
            let headers = [("X-Padding", "x".repeat(4000))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = connection.send("GET", "/livez", &headers, None).expect("an answer");
            assert_eq!(answer.status, 200);
            held.push(connection);
        }
    }
    let grown = resident() - before;
    eprintln!("2,000 connections: {grown} KiB");
    assert!(grown <= 64 * 1024, "{grown} KiB");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_client_that_opens_too_many_connections_loses_its_own_idle_ones_and_nobody_elses() {
    many_files();
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let greedy = host.client("writer").expect("a client");
    let mut held: Vec<_> = (0..600).map(|_| greedy.connect().expect("a connection")).collect();
    let mut last = held.pop().expect("600 of them");
    encrypt(&mut last, "1", b"value").expect("the newest one is served");
    let first = held.remove(0).read_to_close();
    assert_eq!(first.expect("closed with TLS's close"), b"");
    goes_on(&mut web, &token);
}

#[test]
fn a_header_that_comes_one_byte_a_second_is_closed() {
    let host = Host::start().expect("a box");
    let mut slow = host.client("web").and_then(|c| c.connect()).expect("a connection");
    trickle(|byte| slow.write(&[byte]).is_ok(), b"GET /livez HTTP/1.1\r\nX: ");
    assert_eq!(slow.read_to_close().unwrap_or_default(), b"", "no answer, an end");
}

#[test]
fn a_body_that_comes_one_byte_a_second_is_closed_and_takes_nobodys_place() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let nobody = host.nobody().expect("a client");
    // Every place of the strangers', and more.
    let mut slow: Vec<_> = (0..6).map(|_| nobody.connect().expect("a connection")).collect();
    for connection in &mut slow {
        let head = "POST /v1/bundle HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n\
                    Content-Length: 1000\r\n\r\n";
        connection.write(head.as_bytes()).expect("sent");
    }
    goes_on(&mut web, &token);
    assert_eq!(nobody.get("/livez").expect("health needs no place").status, 200);
    let open = slow.first_mut().expect("six of them");
    trickle(|byte| open.write(&[byte]).is_ok(), &[0; 1000]);
    goes_on(&mut web, &token);
}

#[test]
fn strangers_who_trickle_their_bodies_keep_nobody_from_request_and_push() {
    let host = Host::start().expect("a box");
    let nobody = host.nobody().expect("a client");
    let begun = |length: usize| {
        let mut slow = nobody.connect().expect("a connection");
        let head = format!(
            "POST /v1/bundle HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {length}\r\n\r\nx"
        );
        slow.write(head.as_bytes()).expect("sent");
        slow
    };
    let ask = br#"{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
    let large = vec![b'x'; 200 * 1024];
    let slow: Vec<_> = [1000, 300 * 1024].into_iter().flat_map(|n| [n; 6]).map(begun).collect();
    for _ in 0..3 {
        let answer = nobody.post("/v1/request", ask).expect("an answer");
        assert_eq!(answer.code().expect("a sound document"), "ok");
        let mut push = nobody.connect().expect("a connection");
        let octets = [("Content-Type", "application/octet-stream")];
        let answer = push.send("POST", "/v1/bundle", &octets, Some(&large)).expect("an answer");
        assert_eq!(answer.code().expect("a sound document"), "malformed-bundle", "it was read");
    }
    drop(slow);
}

#[test]
fn blocks_take_of_the_room_for_bodies_and_waiting_for_them_takes_none() {
    let host = Host::start().expect("a box");
    let audit = host.client("audit").expect("a client");
    let web = host.client("web").expect("a client");
    let code = |path: &str| audit.get(path).and_then(|a| a.code()).expect("an answer");
    let all = "/v1/audit/blocks?from=0&wait=20";
    let blocks: Blocks = audit.get(all).expect("an answer").ok().expect("blocks");
    let next = blocks.blocks.last().expect("a block").number + 1;
    // Four of 2 MiB are all the room there is.
    let begun = |_| {
        let mut large = web.connect().expect("a connection");
        let head = "POST /v1/decrypt/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 2097152\r\n\r\n[";
        large.write(head.as_bytes()).expect("sent");
        large
    };
    let large = [0; 4].map(begun);
    let full = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        code(all) == "temporary-reduced-capacity"
    });
    assert!(full, "an answer was made without room for it");
    assert_eq!(code(&format!("/v1/audit/blocks?from={next}&wait=0")), "ok");
    drop(large);
    assert!((0..10).any(|_| code(all) == "ok"), "the room is free again");
}

#[test]
fn a_handshake_that_never_comes_is_closed() {
    let host = Host::start().expect("a box");
    let mut silent = TcpStream::connect(host.address).expect("accepted");
    silent.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket option");
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("an end within the box's patience");
    assert_eq!(rest, b"");
    let mut half = TcpStream::connect(host.address).expect("accepted");
    half.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket option");
    half.write_all(&[22, 3, 1, 2, 0]).expect("the beginning of a record");
    half.read_to_end(&mut rest).expect("an end within the box's patience");
    assert_eq!(rest, b"");
}

#[test]
fn strangers_who_all_want_the_tpm_wait_or_are_told_and_a_listed_client_goes_on() {
    let host = Host::start().expect("a box");
    let mut web = host.client("web").and_then(|c| c.connect()).expect("a connection");
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let nobody = host.nobody().expect("a client");
    let ask = br#"{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    for _ in 0..10 {
                        let answer = nobody.post("/v1/request", ask).expect("an answer");
                        match answer.code().expect("a sound document").as_str() {
                            "ok" => served += 1,
                            "temporary-reduced-capacity" => {
                                assert!(answer.header("retry-after").is_some());
                            }
                            other => panic!("{other}"),
                        }
                    }
                    served
                })
            })
            .collect();
        let listed = scope.spawn(|| {
            let mut web = web;
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                goes_on(&mut web, &token);
                served += 1;
            }
            served
        });
        let quotes: i32 = busy.into_iter().map(|stranger| stranger.join().expect("no panic")).sum();
        done.store(true, Ordering::Relaxed);
        assert!(quotes > 0);
        assert!(listed.join().expect("no panic") > 0);
    });
}

#[test]
fn who_asks_and_hangs_up_leaves_room_for_operators() {
    const HEAD: &[u8] = b"POST /v1/bundle HTTP/1.1\r\nHost: x\r\n\
        Content-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\nx";
    let host = Host::start().expect("a box");
    let operate = host.client("operate").expect("a client");
    let octets = [("Content-Type", "application/octet-stream")];
    let push = |client: &Client| {
        let mut connection = client.connect().expect("a connection");
        connection.send("POST", "/v1/bundle", &octets, Some(b"x")).and_then(|a| a.code())
    };
    // Strangers, and a web server in wrong hands, whose key is listed.
    for other in [host.nobody().expect("a client"), host.client("web").expect("a client")] {
        let other = other.with_patience(Duration::from_secs(3));
        // Whatever is asked waits for this.
        let life = host.house().life();
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let mut connection = other.connect().expect("a connection");
                connection.write(HEAD).expect("sent");
                connection
            })
            .collect();
        assert_eq!(push(&other).expect("an answer"), "temporary-reduced-capacity");
        drop(asked);
        // Those four are worked for, though they have gone; nobody takes what is left.
        for _ in 0..2 {
            assert_eq!(push(&other).expect("an answer"), "temporary-reduced-capacity");
        }
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| push(&operate).expect("an answer"));
            std::thread::sleep(Duration::from_millis(300));
            drop(life);
            assert_eq!(asked.join().expect("no panic"), "malformed-bundle");
        });
    }
}

#[test]
fn when_the_port_closes_everybody_is_told() {
    let mut host = Host::start().expect("a box");
    let mut idle = host.client("web").and_then(|c| c.connect()).expect("a connection");
    encrypt(&mut idle, "1", b"value").expect("a token");
    let mut strange = host.nobody().and_then(|c| c.connect()).expect("a connection");
    strange.send("GET", "/livez", &[], None).expect("an answer");
    let told = std::thread::scope(|scope| {
        let told = [idle, strange].map(|mut c| scope.spawn(move || c.read_to_close()));
        host.power_off().expect("a clean end");
        told.map(|t| t.join().expect("no panic"))
    });
    for end in told {
        assert_eq!(end.expect("TLS's close, not a cut"), b"");
    }
}

/// Sends a byte a second until the other side has closed.
fn trickle(mut send: impl FnMut(u8) -> bool, bytes: &[u8]) {
    for byte in bytes {
        if !send(*byte) {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("{} bytes and nobody closed", bytes.len());
}
