//! Power cuts: at every write of a long day, in every way that a write can be left behind. No
//! acknowledged record is lost, the log always opens again, and what was once published stays true.

use std::time::Duration;

use casemate_appliance::audit::{Log, StartError};
use casemate_formats::{
    audit::{
        block::leaf,
        checkpoint::{self, Checkpoint},
        record::{Event, Record, Slug},
        tree,
    },
    digest::Digest,
};
use casemate_tests::{
    disk::Cut,
    log::{Counter, Rig, item, label, numbers},
    power::{Dice, campaign},
};

/// What a box did before its power went, as far as anyone outside knows.
#[derive(Default)]
struct Known {
    acknowledged: Vec<u32>,
    checkpoint: Option<Checkpoint>,
    /// Writes and closed blocks after each step.
    marks: Vec<(u64, u64)>,
    identity: Option<casemate_appliance::audit::Identity>,
}

/// Boots and works until the day is over or something fails.
async fn day(rig: &Rig, known: &mut Known, steps: u32) -> Result<(), StartError> {
    let (log, ..) = rig.boot()?;
    known.identity = log.identity();
    for step in 0..steps {
        let first = step * 1000;
        let count = match step {
            3 | 14 => 250,
            7 => 800,
            _ => 1 + step % 3,
        };
        let mut events: Vec<Event> = (first..first + count).map(|n| item("rails", n)).collect();
        if step % 2 == 1 {
            events.push(Event::Alarm { name: Slug::fixed("test"), client: None, value: None });
        }
        if log.record_all(events).await.is_err() {
            return Ok(());
        }
        known.acknowledged.extend(first..first + count);
        known.checkpoint = checkpoint(&log);
        known.marks.push((rig.disk.writes(), log.health().size));
        if step % 13 == 5 {
            let size = known.checkpoint.as_ref().map_or(0, |c| c.size);
            // It may fail: nothing was promised then.
            let _ = log.collected(&label("auditor"), size).await;
            let _ = log.tick().await;
        }
    }
    Ok(())
}

fn checkpoint(log: &Log) -> Option<Checkpoint> {
    let identity = log.identity()?;
    checkpoint::verify(&log.checkpoint()?, &identity.origin, &identity.checkpoint_key).ok()
}

/// Boots after the cut and checks everything that was known.
async fn check(rig: &Rig, known: &Known, what: &str) {
    let (log, started, replayed) = rig.boot().unwrap_or_else(|error| panic!("{what}: {error}"));
    if !known.acknowledged.is_empty() {
        assert!(started.continued, "{what}: {started:?}");
        assert_eq!(log.identity(), known.identity, "{what}");
    }
    // Close the open block, so that all can be collected.
    log.record(Event::Alarm { name: Slug::fixed("end"), client: None, value: None })
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut blocks = log.blocks(0, Duration::ZERO).await.expect("blocks");
    loop {
        let next = blocks.len() as u64;
        let more = log.blocks(next, Duration::ZERO).await.expect("blocks");
        if more.is_empty() {
            break;
        }
        blocks.extend(more);
    }
    let leaves: Vec<Digest> = blocks.iter().map(|block| leaf(&block.records)).collect();
    let now = checkpoint(&log).expect("verifies");
    assert_eq!((now.size, now.root), (leaves.len() as u64, tree::root(&leaves)), "{what}");
    if let Some(before) = &known.checkpoint {
        let size = usize::try_from(before.size).expect("small");
        assert!(size <= leaves.len(), "{what}: published blocks are gone");
        assert_eq!(tree::root(&leaves[..size]), before.root, "{what}: a published block changed");
    }
    let records: Vec<Record> = blocks
        .iter()
        .flat_map(|block| Record::decode_all(&block.records).expect("records"))
        .collect();
    let seen = numbers(&records);
    let mut acknowledged = known.acknowledged.iter();
    let mut next = acknowledged.next();
    for number in &seen {
        if next == Some(number) {
            next = acknowledged.next();
        }
    }
    assert_eq!(next, None, "{what}: an acknowledged record is lost or out of order");
    // What is there beyond that are records of the one answer that never came, each once.
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "{what}: a record stands twice");
    let replayed = numbers(&replayed);
    assert!(seen.ends_with(&replayed), "{what}: replay and log disagree");
}

/// Cuts at every write between two numbers of closed blocks.
async fn every_cut(steps: u32, sizes: std::ops::Range<u64>) {
    let whole = Rig::new();
    let mut known = Known::default();
    day(&whole, &mut known, steps).await.expect("starts");
    let (first, from) =
        (sizes.start, |size: u64| known.marks.iter().find(move |mark| mark.1 >= size));
    let begin = if first == 0 { 0 } else { from(first).expect("comes so far").0 };
    let end = from(sizes.end).map_or(whole.disk.writes(), |mark| mark.0);
    let writes = end - begin;
    for write in begin..end {
        for cut in Cut::ALL {
            let rig = Rig::new();
            rig.disk.cut_at(write, cut);
            let mut known = Known::default();
            let booted = day(&rig, &mut known, steps).await;
            assert!(rig.disk.is_off(), "the cut came");
            assert!(booted.is_ok() || known.acknowledged.is_empty());
            let after = rig.with_disk(rig.disk.copy());
            check(&after, &known, &format!("write {write} of {writes}, {cut:?}")).await;
        }
    }
}

#[tokio::test]
async fn no_acknowledged_record_is_lost_at_any_cut_of_the_first_hours() {
    every_cut(24, 0..u64::MAX).await;
}

#[tokio::test]
async fn no_acknowledged_record_is_lost_around_snapshots() {
    // Block 64 begins with one.
    every_cut(150, 62..67).await;
}

#[tokio::test]
async fn a_cut_during_recovery_from_a_cut_loses_nothing() {
    for first in 20..28 {
        for second in 0..6 {
            let rig = Rig::new();
            rig.disk.cut_at(first, Cut::First);
            let mut known = Known::default();
            day(&rig, &mut known, 24).await.expect("starts");
            let again = rig.with_disk(rig.disk.copy());
            again.disk.cut_at(second, Cut::Sectors(0x5555_5555_5555_5555));
            let before = again.boot();
            if let Ok((log, ..)) = before {
                for number in 900_000.. {
                    if log.record(item("jobs", number)).await.is_err() {
                        break;
                    }
                    known.acknowledged.push(number);
                }
            }
            let last = rig.with_disk(again.disk.copy());
            check(&last, &known, &format!("writes {first} and {second}")).await;
        }
    }
}

#[tokio::test]
async fn a_new_log_begins_whole_or_not_at_all() {
    for write in 0..8 {
        for cut in Cut::ALL {
            let mut rig = Rig::new();
            let mut known = Known::default();
            day(&rig, &mut known, 9).await.expect("starts");
            let former = known.identity.clone().expect("started").log;
            // The tick moved on while this disk was aside: its log is left behind.
            let counter = Counter::default();
            counter.set(500);
            rig = Rig { counter, ..rig.with_disk(rig.disk.copy()) };
            rig.disk.cut_at(write, cut);
            if let Ok((log, started, _)) = rig.boot() {
                assert!(!started.continued);
                let _ = log.record(item("rails", 1)).await;
            }
            let after = rig.with_disk(rig.disk.copy());
            let (log, started, _) = after.boot().expect("starts");
            let id = log.identity().expect("started").log;
            assert_ne!(id, former, "write {write} {cut:?}: {started:?}");
            log.record(Event::Alarm { name: Slug::fixed("end"), client: None, value: None })
                .await
                .expect("recorded");
            let first = log.blocks(0, Duration::ZERO).await.expect("blocks").swap_remove(0);
            let (record, _) = Record::decode(&first.records).expect("record 0");
            let Event::Begin(begin) = record.event else { panic!("record 0 begins the log") };
            assert!(
                matches!(begin.former, casemate_formats::audit::record::Former::Log { id, .. } if id == former),
                "write {write} {cut:?}: {begin:?}"
            );
        }
    }
}

/// Weeks of batches, alarms, boots and cuts, on a ring that goes round several times.
async fn weeks(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut rig = Rig::new();
    rig.terms.overwrite = true;
    rig.from_blob = true;
    let mut acknowledged: Vec<u32> = Vec::new();
    let mut next = 0;
    let (mut log, first, _) = rig.boot().expect("starts");
    let mut rolled_back = first.rolled_back;
    for step in 0..200 {
        let what = format!("seed {seed}, step {step}");
        if dice.roll(4) == 0 {
            rig.disk.cut_at(rig.disk.writes() + dice.roll(4), dice.cut());
        }
        let count = if dice.roll(3) > 0 { 1 + dice.roll(1500) } else { 1 + dice.roll(5) };
        let last = next + u32::try_from(count).expect("small");
        let mut events: Vec<Event> = (next..last).map(|n| item("rails", n)).collect();
        if dice.roll(3) == 0 {
            events.push(Event::Alarm { name: Slug::fixed("test"), client: None, value: None });
        }
        if log.record_all(events).await.is_ok() {
            acknowledged.extend(next..last);
        }
        next = last;
        if dice.roll(9) == 0 {
            let _ = log.tick().await;
        }
        if rig.disk.is_off() || dice.roll(12) == 0 {
            drop(log);
            rig = rig.with_disk(rig.disk.copy());
            let (again, started, _) = rig.boot().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(started.continued, "{what}: {started:?}");
            assert_eq!(started.rolled_back, rolled_back, "{what}");
            rolled_back = started.rolled_back;
            log = again;
        }
    }
    drop(log);
    let rig = rig.with_disk(rig.disk.copy());
    let (log, ..) = rig.boot().expect("starts");
    log.record(Event::Alarm { name: Slug::fixed("end"), client: None, value: None })
        .await
        .expect("recorded");
    let size = log.health().size;
    let mut from = 0;
    while log.blocks(from, Duration::ZERO).await.is_err() {
        from += 1;
        assert!(from < size, "seed {seed}: something can be read");
    }
    assert!(from > 0, "seed {seed}: the ring went round");
    let mut seen = Vec::new();
    while from < size {
        let blocks = log.blocks(from, Duration::ZERO).await.expect("blocks");
        from += blocks.len() as u64;
        for block in blocks {
            seen.extend(numbers(&Record::decode_all(&block.records).expect("records")));
        }
    }
    let first = seen.first().copied().expect("some");
    let mut seen = seen.into_iter();
    for number in acknowledged.into_iter().filter(|number| *number >= first) {
        assert!(seen.any(|other| other == number), "seed {seed}: {number} is lost");
    }
}

#[tokio::test]
async fn weeks_of_cuts_and_boots_on_a_ring_that_goes_round_lose_nothing() {
    for seed in campaign(2) {
        weeks(seed).await;
    }
}
