//! The audit log on a disk: what is acknowledged stays, what is read back verifies outside the box.

use std::time::Duration;

use casemate_appliance::audit::{AuditUnavailable, Closed, Log, ROLLED_BACK, ReadError};
use casemate_formats::{
    audit::{
        block::leaf,
        checkpoint,
        record::{Event, Former, Record, Slug},
        tree,
    },
    digest::Digest,
};
use casemate_tests::log::{Rig, item, label, numbers};

/// Everything that collectors can get.
async fn all_blocks(log: &Log, from: u64) -> Vec<Closed> {
    let mut out: Vec<Closed> = Vec::new();
    loop {
        let next = out.last().map_or(from, |block| block.number + 1);
        let more = log.blocks(next, Duration::ZERO).await.expect("blocks are there");
        if more.is_empty() {
            return out;
        }
        out.extend(more);
    }
}

/// What a collector does: every leaf, the root over them, the signature.
async fn verified(log: &Log) -> Vec<Record> {
    let blocks = all_blocks(log, 0).await;
    let leaves: Vec<Digest> = blocks.iter().map(|block| leaf(&block.records)).collect();
    let identity = log.identity().expect("started");
    let note = log.checkpoint().expect("started");
    let checkpoint =
        checkpoint::verify(&note, &identity.origin, &identity.checkpoint_key).expect("verifies");
    assert_eq!(checkpoint.size, leaves.len() as u64);
    assert_eq!(checkpoint.root, tree::root(&leaves));
    blocks.iter().flat_map(|b| Record::decode_all(&b.records).expect("records")).collect()
}

fn alarm() -> Event {
    Event::Alarm { name: Slug::fixed("test"), client: None, value: None }
}

#[tokio::test]
async fn a_collector_gets_what_was_recorded_and_it_verifies() {
    let rig = Rig::new();
    let (log, started, _) = rig.boot().expect("starts");
    assert!(!started.continued && started.reason == Some("ring-blank"));
    for number in 0..50 {
        log.record(item("rails", number)).await.expect("recorded");
    }
    log.record_all((50..1050).map(|n| item("rails", n)).collect()).await.expect("recorded");
    log.record(alarm()).await.expect("recorded");
    let records = verified(&log).await;
    assert_eq!(numbers(&records), (0..1050).collect::<Vec<_>>());
    assert!(matches!(&records[0].event, Event::Begin(begin) if begin.former == Former::None));
    assert!(matches!(records[1].event, Event::Tick { value: 1 }));
    assert_eq!(rig.counter.value(), 1);
}

#[tokio::test]
async fn a_log_goes_on_after_a_boot_with_all_its_records() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    for number in 0..200 {
        log.record(item("rails", number)).await.expect("recorded");
    }
    let identity = log.identity();
    drop(log);
    let (log, started, replayed) = rig.boot().expect("starts");
    assert!(started.continued && started.reason.is_none(), "{started:?}");
    assert_eq!(log.identity(), identity);
    assert_eq!(numbers(&replayed), (0..200).collect::<Vec<_>>());
    log.record(item("rails", 200)).await.expect("recorded");
    log.record(alarm()).await.expect("recorded");
    assert_eq!(numbers(&verified(&log).await), (0..=200).collect::<Vec<_>>());
    assert_eq!(rig.counter.value(), 2);
}

#[tokio::test]
async fn a_boot_replays_from_the_newest_snapshot_only() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    for number in 0..150 {
        log.record_all(vec![item("rails", number), alarm()]).await.expect("recorded");
    }
    drop(log);
    let (log, started, replayed) = rig.boot().expect("starts");
    assert!(started.continued);
    let replayed = numbers(&replayed);
    assert!(replayed.len() <= 65 && replayed.last() == Some(&149), "{replayed:?}");
    // And still everything can be collected, from before the snapshots as well.
    assert_eq!(numbers(&verified(&log).await), (0..150).collect::<Vec<_>>());
}

#[tokio::test]
async fn records_from_before_the_root_come_first() {
    let rig = Rig::new();
    let log = Log::before_root(casemate_tests::log::clock());
    assert!(log.checkpoint().is_none() && log.identity().is_none());
    for number in 0..600 {
        log.record(item("rails", number)).await.expect("kept");
    }
    log.count("request");
    log.count("request");
    rig.start(&log).expect("starts");
    log.record(alarm()).await.expect("recorded");
    let records = verified(&log).await;
    assert_eq!(numbers(&records), (88..600).collect::<Vec<_>>(), "the oldest are counted out");
    let lost = Event::Lost { reason: Slug::fixed("before-root"), count: 88 };
    assert!(records.iter().any(|record| record.event == lost));
    let counted = Event::Counted { what: Slug::fixed("request"), count: 2 };
    assert!(records.iter().any(|record| record.event == counted));
}

#[tokio::test]
async fn a_waiting_collector_gets_a_block_within_a_second_or_so() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.blocks(0, Duration::from_secs(20)).await }
    });
    log.record(item("rails", 1)).await.expect("recorded");
    let blocks = waiting.await.expect("no panic").expect("blocks");
    assert_eq!(blocks.len(), 1);
    // A collector's own acknowledgement wakes nobody.
    log.collected(&label("auditor"), 1).await.expect("recorded");
    let none = log.blocks(1, Duration::from_millis(1500)).await.expect("no error");
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_failing_disk_ends_every_answer_until_a_write_succeeds() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    rig.disk.fail(true);
    for number in 2..20 {
        let refused = log.record(item("rails", number)).await;
        assert_eq!(refused.err(), Some(AuditUnavailable::Disk));
    }
    assert!(!log.health().available);
    rig.disk.fail(false);
    // Nobody asks for anything, and it finds out by itself.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(log.health().available);
    log.record(item("rails", 20)).await.expect("recorded");
    log.record(alarm()).await.expect("recorded");
    let records = verified(&log).await;
    assert_eq!(numbers(&records), [1, 20]);
    let lost: u32 = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Lost { count, .. } => Some(*count),
            _ => None,
        })
        .sum();
    assert_eq!(lost, 18, "every refused item is counted");
}

#[tokio::test]
async fn another_disk_in_place_of_the_own_ends_every_answer() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    rig.disk.fail(true);
    log.record(item("rails", 2)).await.expect_err("refused");
    // It comes back, but blank.
    rig.disk.become_copy_of(&casemate_tests::disk::TestDisk::blank(casemate_tests::log::SMALL));
    rig.disk.fail(false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(log.record(item("rails", 3)).await.err(), Some(AuditUnavailable::Disk));
}

#[tokio::test]
async fn the_own_disk_of_a_minute_ago_ends_every_answer() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    let before = rig.disk.copy();
    log.record(item("rails", 2)).await.expect("recorded");
    rig.disk.fail(true);
    log.record(item("rails", 3)).await.expect_err("refused");
    rig.disk.become_copy_of(&before);
    rig.disk.fail(false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(log.record(item("rails", 4)).await.err(), Some(AuditUnavailable::Disk));
}

#[tokio::test]
async fn a_full_ring_stops_one_client_and_leaves_the_others_their_part() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    let mut number = 0;
    let refused = loop {
        let batch = (0..500).map(|n| item("rails", number + n)).collect();
        match log.record_all(batch).await {
            Ok(_) => number += 500,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AuditUnavailable::Full);
    // It was warned before the first client was refused, not only when all are.
    assert!(log.health().available && log.health().warning);
    // Others, and the box itself, go on.
    for n in 0..200 {
        log.record(item("jobs", n)).await.expect("has its own part");
    }
    log.record(alarm()).await.expect("the box has its part");
    // A collector fetches and acknowledges: there is room again.
    let blocks = all_blocks(&log, 0).await;
    let next = blocks.last().map_or(0, |block| block.number + 1);
    log.collected(&label("auditor"), next).await.expect("always possible");
    log.record_all((0..500).map(|n| item("rails", n)).collect()).await.expect("room again");
}

#[tokio::test]
async fn a_ring_that_is_full_to_the_brim_still_takes_acknowledgements() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    for client in ["rails", "jobs", "auditor"] {
        while log.record_all((0..300).map(|n| item(client, n)).collect()).await.is_ok() {}
    }
    while log.record(alarm()).await.is_ok() {}
    assert!(log.health().warning);
    let next = all_blocks(&log, 0).await.last().map_or(0, |block| block.number + 1);
    drop(log);
    // The account survives a boot.
    let (log, started, _) = rig.boot().expect("starts");
    assert!(started.continued && log.health().warning);
    assert_eq!(log.record(item("rails", 1)).await.err(), Some(AuditUnavailable::Full));
    log.collected(&label("auditor"), next).await.expect("always possible");
    log.record(item("rails", 1)).await.expect("room again");
    assert!(!log.health().warning);
}

#[tokio::test]
async fn with_overwrite_the_ring_goes_round_and_old_blocks_are_gone_by_name() {
    let mut rig = Rig::new();
    rig.terms.overwrite = true;
    rig.terms.collectors_required = 0;
    let (log, ..) = rig.boot().expect("starts");
    // Three times round: 100 items are about three units.
    for number in 0..1100 {
        log.record_all((0..100).map(|n| item("rails", number * 100 + n)).collect())
            .await
            .expect("recorded");
    }
    assert_eq!(log.blocks(0, Duration::ZERO).await.err(), Some(ReadError::Gone));
    let size = log.health().size;
    let tail = all_blocks(&log, size - 50).await;
    assert_eq!(tail.len(), 50);
    drop(log);
    let (log, started, _) = rig.boot().expect("starts");
    assert!(started.continued, "{started:?}");
    assert_eq!(all_blocks(&log, size - 50).await[..50], tail[..]);
}

#[tokio::test]
async fn a_disk_older_than_the_last_tick_is_rolled_back_by_name() {
    let mut rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    let former = log.identity().expect("started").log;
    let old = rig.disk.copy();
    log.tick().await.expect("ticks");
    log.record(item("rails", 2)).await.expect("recorded");
    drop(log);

    let mut stolen = rig.with_disk(old);
    stolen.from_blob = true;
    let (log, started, _) = stolen.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-behind"));
    let new = log.identity().expect("started").log;
    assert_eq!(started.rolled_back, Some(new));
    assert!(log.health().rolled_back);
    log.record(alarm()).await.expect("recorded");
    let begin = verified(&log).await.swap_remove(0);
    assert!(matches!(&begin.event, Event::Begin(begin)
        if begin.former == Former::Log { id: former, size: 1 } && begin.rolled_back));
    drop(log);

    // It stays so over a boot, until a bundle acknowledges this very log.
    let (log, started, _) = stolen.boot().expect("starts");
    assert!(started.continued && started.rolled_back == Some(new));
    let mut terms = stolen.terms.clone();
    terms.acknowledged = vec![(label("box-1"), former)];
    log.terms(terms.clone());
    assert!(log.health().rolled_back, "the former log's id is not enough");
    terms.acknowledged = vec![(label("box-1"), new)];
    log.terms(terms);
    assert!(!log.health().rolled_back);

    // The same old disk, but the root came from custodians: a new log, nothing to acknowledge.
    rig.from_blob = false;
    let (_, started, _) = rig.with_disk(stolen.disk.copy()).boot().expect("starts");
    assert_eq!(started.rolled_back, Some(new), "a rollback once noted stays noted");
}

#[tokio::test]
async fn a_blank_disk_under_a_sealed_root_is_rolled_back_by_name() {
    let mut rig = Rig::new();
    rig.from_blob = true;
    rig.counter.set(4);
    let (_, started, _) = rig.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-blank"));
    assert!(started.rolled_back.is_some());
}

#[tokio::test]
async fn a_record_one_ahead_of_the_counter_is_a_power_cut_and_goes_on() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    rig.counter.fail(true);
    log.tick().await.expect("the record is durable");
    drop(log);
    rig.counter.fail(false);
    assert_eq!(rig.counter.value(), 1);
    let (_, started, _) = rig.boot().expect("starts");
    assert!(started.continued, "{started:?}");
    assert_eq!(rig.counter.value(), 3, "raised to the record, then the boot's own tick");
}

#[tokio::test]
async fn a_cleared_tpm_or_another_host_begins_a_new_log() {
    let mut rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(item("rails", 1)).await.expect("recorded");
    drop(log);
    let other_tpm =
        Rig { counter: casemate_tests::log::Counter::default(), ..rig.with_disk(rig.disk.copy()) };
    other_tpm.counter.set(0);
    rig.counter.set(1);
    let (_, started, _) = other_tpm.boot().expect("starts");
    assert!(started.continued, "0 is one behind the record: as after a power cut");
    let other_tpm =
        Rig { counter: casemate_tests::log::Counter::default(), ..rig.with_disk(rig.disk.copy()) };
    other_tpm.counter.set(77);
    let (_, started, _) = other_tpm.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-behind"));
    rig.host = label("box-2");
    let (_, started, _) = rig.boot().expect("starts");
    assert_eq!(started.reason, Some("foreign-log"));
}

#[tokio::test]
async fn a_ring_of_another_root_is_left_alone_and_named() {
    let mut rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record_all(vec![item("rails", 1), alarm()]).await.expect("recorded");
    let former = log.identity().expect("started").log;
    drop(log);
    let first = rig.disk.unit(rig.geometry().ring);
    rig.root = 8;
    let (log, started, _) = rig.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-does-not-open"));
    log.record(alarm()).await.expect("recorded");
    let begin = verified(&log).await.swap_remove(0);
    assert!(matches!(&begin.event, Event::Begin(begin) if begin.former == Former::Claimed(former)));
    assert_eq!(rig.disk.unit(rig.geometry().ring), first, "the old block still stands");
}

#[tokio::test]
async fn a_collector_that_has_seen_more_than_the_disk_closes_reads() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(alarm()).await.expect("recorded");
    assert_eq!(log.blocks(2, Duration::ZERO).await.err(), Some(ReadError::BeyondHead));
    assert!(!log.health().rolled_back, "asking is not claiming");
    let refused = log.collected(&label("auditor"), 99).await.err();
    assert_eq!(refused, Some(ReadError::BeyondHead));
    assert!(log.health().rolled_back);
    let records = verified(&log).await;
    assert!(records.iter().any(|record| matches!(&record.event,
        Event::Alarm { name, value: Some(99), .. } if name.as_str() == ROLLED_BACK)));
    drop(log);
    let (log, ..) = rig.boot().expect("starts");
    assert!(log.health().rolled_back, "and it stays so over a boot");
}

#[tokio::test]
async fn what_a_collector_has_counts_once_it_is_recorded() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.record(alarm()).await.expect("recorded");
    rig.disk.fail(true);
    let auditor = label("auditor");
    let failed = log.collected(&auditor, 1).await.err();
    assert_eq!(failed, Some(ReadError::Unavailable(AuditUnavailable::Disk)));
    rig.disk.fail(false);
    // Said again until it is taken: a proof given now is of a record that stands on the disk.
    while log.collected(&auditor, 1).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(log);
    let (.., replayed) = rig.boot().expect("starts");
    let collected = Event::Collected { client: auditor, next: 1 };
    assert!(replayed.iter().any(|record| record.event == collected), "{replayed:?}");
}

#[tokio::test]
async fn a_tick_without_records_is_none() {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    log.tick().await.expect("nothing to do");
    assert_eq!(rig.counter.value(), 1);
    log.record(item("rails", 1)).await.expect("recorded");
    log.tick().await.expect("ticks");
    log.tick().await.expect("nothing to do");
    assert_eq!(rig.counter.value(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_each_get_their_proof() {
    let mut rig = Rig::new();
    rig.terms.overwrite = true;
    let (log, ..) = rig.boot().expect("starts");
    let callers = (0..64u32).map(|caller| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                log.record(item("rails", caller * 50 + n)).await.expect("recorded");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    log.record(alarm()).await.expect("recorded");
    let mut seen = numbers(&verified(&log).await);
    seen.sort_unstable();
    assert_eq!(seen, (0..3200).collect::<Vec<_>>());
}
