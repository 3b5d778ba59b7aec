//! Disks that fail, are slow or full, and clocks that stand still: a box answers by name, gives nothing
//! out without its record, and works again when they do.

use std::{
    thread,
    time::{Duration, Instant},
};

use casemate_appliance::{audit::AuditUnavailable, state::header};
use casemate_formats::{
    api::{Blocks, Collected, Health},
    state::{SLOTS as SLOTS_OF_A_BOX, slot::SLOT_UNITS},
};
use casemate_tests::{
    calls::{context, decrypt, decrypt_item, encrypt, plaintext},
    client::{Client, Connection},
    disk::{EVERYWHERE, Faults, TestDisk},
    host::{Host, Options, Proxy},
    log::{Rig, SMALL, item},
    whole::alarm,
};
use serde_json::json;

const UNITS: u64 = 16 * 1024;
/// Where the slots end.
const TAIL: u64 = header::FIRST_SLOT + SLOTS_OF_A_BOX as u64 * SLOT_UNITS;
/// All three slots.
const SLOTS: std::ops::Range<u64> = header::FIRST_SLOT..TAIL;
/// Both tail places.
const TAILS: std::ops::Range<u64> = TAIL..TAIL + 2 * header::TAIL_UNITS;
/// The ring.
const RING: std::ops::Range<u64> = TAIL + 2 * header::TAIL_UNITS..u64::MAX;

fn behind(disk: &TestDisk) -> Proxy {
    let disk = disk.clone();
    Box::new(move |_| disk.blocks())
}

fn on(disk: &TestDisk) -> Host {
    Host::with(Options { proxy: Some(behind(disk)), ..Options::default() }).expect("a box")
}

fn web(host: &Host) -> Connection {
    host.client("web").and_then(|c| c.connect()).expect("a connection")
}

fn health(host: &Host) -> Health {
    let answer = host.nobody().and_then(|c| c.get("/readyz")).expect("an answer");
    serde_json::from_slice(&answer.body).expect("health")
}

fn push(host: &Host, seq: u64) -> String {
    let mut bundle = host.bundle.clone().expect("a bundle");
    bundle.site.seq = seq;
    match host.push(&host.site.sign(&bundle).expect("signs")) {
        Ok(accepted) => accepted.outcome,
        Err(error) => error.to_string(),
    }
}

/// Calls until it is served again; a failed disk is tried ten times a second.
fn served_again(web: &mut Connection, token: &str) {
    let since = Instant::now();
    while decrypt(web, "1", token).expect("an answer").status != 200 {
        assert!(since.elapsed() < Duration::from_secs(20), "not served again");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn when_writes_of_the_log_fail_nothing_is_given_out_and_it_works_again_when_they_do_not() {
    let disk = TestDisk::blank(UNITS);
    let host = on(&disk);
    let mut web = web(&host);
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    // The open block goes to a tail place, a full one to the ring.
    let one = decrypt_item(&token, &context("1"));
    let many = json!({ "items": vec![one.clone(); 1000] });
    for (writes, path, body) in [(TAILS, "", one), (RING, "/batch", many)] {
        let (path, body) = (format!("/v1/decrypt{path}"), body.to_string());
        disk.misbehave(Faults { writes, ..Faults::default() });
        let answer = web.post(&path, body.as_bytes()).expect("an answer");
        assert_eq!(answer.code().expect("a problem"), "audit-unavailable");
        assert_eq!(health(&host).reasons, ["audit-unavailable"]);
        disk.misbehave(Faults::default());
        served_again(&mut web, &token);
        assert!(health(&host).ready);
        assert_eq!(web.post(&path, body.as_bytes()).expect("an answer").status, 200);
    }
}

#[test]
fn a_bundle_whose_slot_cannot_be_written_is_refused_and_the_box_goes_on() {
    let disk = TestDisk::blank(UNITS);
    let mut host = on(&disk);
    let mut calls = web(&host);
    let token = encrypt(&mut calls, "1", b"value").expect("a token");
    disk.misbehave(Faults { writes: SLOTS, ..Faults::default() });
    assert!(push(&host, 3).contains("internal"), "{}", push(&host, 3));
    let answer = decrypt(&mut calls, "1", &token).expect("an answer");
    assert_eq!(plaintext(&answer).expect("the bundle before serves"), b"value");
    disk.misbehave(Faults::default());
    // What stands in that slot nobody has looked at: a boot does.
    assert!(push(&host, 3).contains("tpm-unavailable"));
    drop(calls);
    host.reboot_on(Some(behind(&disk))).expect("boots");
    assert_eq!(push(&host, 3), "in-force");
    served_again(&mut web(&host), &token);
}

#[test]
fn a_disk_that_cannot_be_read_does_not_boot_and_a_log_that_cannot_be_read_serves_nothing() {
    let disk = TestDisk::blank(UNITS);
    let mut host = on(&disk);
    let token = encrypt(&mut web(&host), "1", b"value").expect("a token");
    for reads in [header::HEADER..header::HEADER + 1, SLOTS] {
        disk.misbehave(Faults { reads, ..Faults::default() });
        let refused = host.reboot_on(Some(behind(&disk))).expect_err("a disk that fails");
        assert!(refused.to_string().starts_with("state-io"), "{refused}");
    }
    for reads in [TAILS, RING] {
        disk.misbehave(Faults { reads, ..Faults::default() });
        host.reboot_on(Some(behind(&disk))).expect("the port opens");
        assert_eq!(health(&host).reasons, ["audit-unavailable"]);
        assert_eq!(decrypt(&mut web(&host), "1", &token).expect("an answer").status, 503);
        disk.misbehave(Faults::default());
        // Bringing the bundle in force again is a way without hands on the box.
        assert_eq!(push(&host, 2), "again");
        served_again(&mut web(&host), &token);
    }
}

#[test]
fn a_block_that_cannot_be_read_is_named_to_collectors_and_disturbs_nobody_else() {
    let disk = TestDisk::blank(UNITS);
    let host = on(&disk);
    let mut web = web(&host);
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let audit = host.client("audit").expect("a client");
    let first = audit.get("/v1/audit/blocks?from=0&wait=20").expect("an answer");
    assert!(!first.ok::<Blocks>().expect("blocks").blocks.is_empty());
    disk.misbehave(Faults { reads: EVERYWHERE, ..Faults::default() });
    let answer = audit.get("/v1/audit/blocks?from=0").expect("an answer");
    assert_eq!(answer.code().expect("a problem"), "block-damaged");
    assert_eq!(decrypt(&mut web, "1", &token).expect("an answer").status, 200);
    disk.misbehave(Faults::default());
    assert_eq!(audit.get("/v1/audit/blocks?from=0").expect("an answer").status, 200);
}

#[test]
fn a_full_ring_warns_then_refuses_and_what_is_collected_frees_it() {
    let disk = TestDisk::blank(SMALL);
    let host = Host::with(Options {
        proxy: Some(behind(&disk)),
        change: Some(Box::new(|bundle| {
            (bundle.audit.collectors_required, bundle.audit.overwrite) = (1, false);
        })),
        ..Options::default()
    })
    .expect("a box");
    let mut web = web(&host);
    let token = encrypt(&mut web, "1", b"value").expect("a token");
    let one = decrypt_item(&token, &context("1"));
    let batch = json!({ "items": vec![one; 1000] }).to_string();
    let audit = host.client("audit").expect("a client");
    let mut collected = 0;
    for round in 0..2 {
        let (mut warned, mut batches) = (false, 0);
        let refused = loop {
            let answer = web.post("/v1/decrypt/batch", batch.as_bytes()).expect("an answer");
            if answer.status != 200 {
                break answer;
            }
            batches += 1;
            assert!(batches < 200, "it fills");
            let health = health(&host);
            assert!(health.ready && (!warned || health.reasons == ["audit-fill"]));
            warned = !health.reasons.is_empty();
        };
        assert_eq!(
            (refused.status, refused.code().expect("sound")),
            (503, "audit-unavailable".into())
        );
        assert!(warned && batches > 3, "round {round}: the warning comes first, and not at once");
        collected = collect(&audit, collected);
        served_again(&mut web, &token);
        assert!(health(&host).reasons.is_empty());
    }
}

/// Collects every closed block from a number on and acknowledges; the next number.
fn collect(audit: &Client, mut from: u64) -> u64 {
    loop {
        let answer = audit.get(&format!("/v1/audit/blocks?from={from}")).expect("an answer");
        let blocks: Blocks = answer.ok().expect("blocks");
        let Some(last) = blocks.blocks.last() else { break };
        from = last.number + 1;
    }
    let body = serde_json::to_vec(&Collected { next: from }).expect("JSON");
    let answer = audit.post("/v1/audit/collected", &body).expect("an answer");
    assert_eq!(answer.code().expect("sound"), "ok", "what makes room is always admitted");
    from
}

#[test]
fn a_disk_that_takes_200_ms_for_a_write_serves_many_with_few_writes() {
    let disk = TestDisk::blank(UNITS);
    let host = on(&disk);
    let token = encrypt(&mut web(&host), "1", b"value").expect("a token");
    disk.misbehave(Faults { delay: Duration::from_millis(200), ..Faults::default() });
    let before = disk.writes();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut web = web(&host);
                for _ in 0..4 {
                    assert_eq!(decrypt(&mut web, "1", &token).expect("an answer").status, 200);
                }
            });
        }
    });
    let writes = disk.writes() - before;
    assert!(writes < 48, "{writes} writes for 48 answers: nothing was committed together");
    assert_eq!(push(&host, 3), "in-force");
    assert!(health(&host).ready);
}

#[test]
fn a_write_that_failed_leaves_every_account_as_it_was() {
    let admitted = |failing: bool| {
        let rig = Rig::new();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (log, ..) = rig.boot().expect("starts");
        let batch = |client: &str| {
            runtime.block_on(log.record_all((0..50).map(|n| item(client, n)).collect()))
        };
        // Each block holds much of one client, and little of the box that closes it.
        for _ in 0..60 {
            batch("rails").expect("recorded");
            batch("rails").expect("recorded");
            if failing {
                rig.disk.fail(true);
                assert_eq!(batch("rails").unwrap_err(), AuditUnavailable::Disk);
                rig.disk.fail(false);
                thread::sleep(Duration::from_millis(110));
            }
            runtime.block_on(log.record(alarm("test"))).expect("recorded");
        }
        let mut others = 0;
        while batch("jobs").is_ok() {
            others += 1;
        }
        others
    };
    let (without, with): (i64, i64) = (admitted(false), admitted(true));
    // The lost writes left a few records of their own.
    assert!((without - with).abs() <= 2, "{without} batches of another client, then {with}");
}

#[test]
fn the_clock_cannot_stand_before_the_last_record_until_a_bundle_says_so() {
    const DAY: i64 = 24 * 3600;
    let mut host = Host::start().expect("a box");
    host.clock_skew = 30 * DAY;
    host.reboot().expect("a boot with a clock that runs ahead");
    encrypt(&mut web(&host), "1", b"value").expect("a token");
    assert!(health(&host).reasons.is_empty());
    host.clock_skew = 0;
    host.reboot().expect("boots");
    assert_eq!(health(&host).reasons, ["clock"]);
    // It goes on serving, and the signers set it right.
    encrypt(&mut web(&host), "1", b"value").expect("a token");
    assert_eq!(push(&host, 3), "in-force");
    assert!(health(&host).reasons.is_empty());
    host.reboot().expect("boots");
    assert!(health(&host).reasons.is_empty(), "it stays right");
}
