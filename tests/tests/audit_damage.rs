//! Damage: a flipped bit in each structure that the log keeps is refused by name, or taken for the
//! power cut that it cannot be told from, and never believed.

use std::time::Duration;

use casemate_appliance::{
    audit::{Log, ReadError},
    state::{Disk, State, StateError, header},
};
use casemate_formats::{
    audit::record::{Event, Slug},
    state::{Absent, Crash, CrashSector, Slot, UNIT},
};
use casemate_tests::log::{Rig, SMALL, item, numbers};

fn alarm() -> Event {
    Event::Alarm { name: Slug::fixed("test"), client: None, value: None }
}

/// A box with 100 closed blocks and an open one of several writes.
async fn worked() -> Rig {
    let rig = Rig::new();
    let (log, ..) = rig.boot().expect("starts");
    for number in 0..100 {
        log.record_all(vec![item("rails", number), alarm()]).await.expect("recorded");
    }
    for number in 100..105 {
        log.record(item("rails", number)).await.expect("recorded");
    }
    rig
}

/// The same box, its disk with one bit flipped, booting with a sealed root.
fn flipped(rig: &Rig, unit: u64, bit: usize) -> Rig {
    let mut other = rig.with_disk(rig.disk.copy());
    other.counter = casemate_tests::log::Counter::default();
    other.counter.set(rig.counter.value());
    other.from_blob = true;
    other.disk.flip(unit, bit);
    other
}

/// Bits all over a unit that holds one block.
fn bits() -> impl Iterator<Item = usize> {
    (0..128 * 8).step_by(7).chain((128 * 8..UNIT * 8).step_by(997))
}

#[tokio::test]
async fn a_damaged_tail_is_noted_and_never_believed() {
    let rig = worked().await;
    let tail = rig.geometry().tail;
    let (mut whole, mut cut) = (0, 0);
    for place in [tail, tail + header::TAIL_UNITS] {
        for bit in bits() {
            let (_, started, replayed) = flipped(&rig, place, bit).boot().expect("starts");
            assert!(started.continued, "the other place stands");
            assert_eq!(started.reason, Some("tail-torn"));
            let replayed = numbers(&replayed);
            // Of the newest version the last record goes with it: a torn write looks the same.
            let all = [100, 101, 102, 103, 104];
            assert!(replayed.ends_with(&all) || replayed.ends_with(&all[..4]), "{replayed:?}");
            whole += usize::from(replayed.ends_with(&all));
            cut += usize::from(replayed.ends_with(&all[..4]));
        }
    }
    assert_eq!(whole, cut, "one place has the newest version");
}

#[tokio::test]
async fn two_damaged_tails_are_a_log_that_does_not_open() {
    let rig = worked().await;
    let tail = rig.geometry().tail;
    let both = flipped(&rig, tail, 4000);
    both.disk.flip(tail + header::TAIL_UNITS, 4000);
    let (log, started, _) = both.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-does-not-open"));
    assert!(started.rolled_back.is_some() && log.health().rolled_back);
}

#[tokio::test]
async fn a_damaged_block_since_the_snapshot_is_a_damaged_ring() {
    let rig = worked().await;
    let ring = rig.geometry().ring;
    // Block 96 has the newest snapshot of so small a ring; every block is one unit.
    for block in 96..100 {
        for bit in bits().step_by(9) {
            let (_, started, _) = flipped(&rig, ring + block, bit).boot().expect("starts");
            assert_eq!(started.reason, Some("ring-damaged"), "block {block}, bit {bit}");
            assert!(started.rolled_back.is_some());
        }
    }
}

#[tokio::test]
async fn an_older_damaged_block_is_refused_to_collectors() {
    let rig = worked().await;
    let ring = rig.geometry().ring;
    for block in [0u64, 1, 30, 63] {
        let (log, started, _) = flipped(&rig, ring + block, 2000).boot().expect("starts");
        assert!(started.continued);
        let read = log.blocks(block, Duration::ZERO).await;
        assert!(matches!(read, Err(ReadError::Damaged | ReadError::Gone)), "{block}: {read:?}");
    }
}

#[tokio::test]
async fn two_blocks_that_change_places_are_refused() {
    let rig = worked().await;
    let ring = rig.geometry().ring;
    let other = flipped(&rig, ring + 97, 0);
    let (a, b) = (rig.disk.unit(ring + 97), rig.disk.unit(ring + 98));
    let blocks = other.disk.blocks();
    blocks.write(ring + 97, &b).expect("writes");
    blocks.write(ring + 98, &a).expect("writes");
    let (_, started, _) = other.boot().expect("starts");
    assert_eq!(started.reason, Some("ring-damaged"));
}

#[test]
fn a_flipped_bit_in_a_header_is_refused_while_anything_of_ours_is_there() {
    let disk = casemate_tests::disk::TestDisk::blank(SMALL);
    let state = State::open(disk.blocks()).expect("formats");
    let slot = Slot {
        write_number: 1,
        label: 0,
        branches: heapless::Vec::new(),
        bundle: vec![1; 5000],
        blob: None,
    };
    state.write_slot(1, &slot).expect("writes");
    for bit in 0..90 * 8 {
        let damaged = disk.copy();
        damaged.flip(0, bit);
        assert!(matches!(State::open(damaged.blocks()), Err(StateError::Header)), "bit {bit}");
    }
    // And nothing was written over.
    let slots = State::open(disk.blocks()).expect("opens").slots().expect("reads");
    assert_eq!(slots, [Err(Absent::Empty), Ok(slot), Err(Absent::Empty)]);
}

#[test]
fn a_blank_or_foreign_disk_is_formatted_and_a_cut_during_that_leaves_it_so() {
    for foreign in [false, true] {
        for write in 0..8 {
            for cut in casemate_tests::disk::Cut::ALL {
                let disk = casemate_tests::disk::TestDisk::blank(SMALL);
                if foreign {
                    for unit in [0, 1, 2, 3, 258, 770, 802, 900] {
                        disk.blocks().write(unit, &[0x42; UNIT]).expect("writes");
                    }
                }
                let after = disk.copy();
                after.cut_at(write, cut);
                let _ = State::open(after.blocks());
                let state = State::open(after.copy().blocks()).expect("formats in the end");
                let slots = state.slots().expect("reads");
                assert!(slots.iter().all(|slot| *slot == Err(Absent::Empty)), "{slots:?}");
            }
        }
    }
}

#[test]
fn a_smaller_partition_than_before_is_named() {
    let disk = casemate_tests::disk::TestDisk::blank(SMALL + 50);
    State::open(disk.blocks()).expect("formats");
    let smaller = casemate_tests::disk::TestDisk::blank(SMALL);
    smaller.blocks().write(0, &disk.unit(0)).expect("writes");
    let opened = State::open(smaller.blocks());
    assert!(matches!(opened, Err(StateError::Truncated(SMALL))));
}

#[test]
fn a_slot_write_that_is_cut_leaves_the_other_slots_and_a_named_gap() {
    let slot = |n: u64, bytes: usize| Slot {
        write_number: n,
        label: n,
        branches: heapless::Vec::new(),
        bundle: vec![u8::try_from(n).expect("small"); bytes],
        blob: Some(vec![9; 300]),
    };
    for cut in casemate_tests::disk::Cut::ALL {
        let disk = casemate_tests::disk::TestDisk::blank(SMALL);
        let state = State::open(disk.blocks()).expect("formats");
        state.write_slot(0, &slot(1, 9000)).expect("writes");
        state.write_slot(1, &slot(2, 50_000)).expect("writes");
        disk.cut_at(disk.writes(), cut);
        assert!(state.write_slot(1, &slot(3, 20_000)).is_err());
        let slots = State::open(disk.copy().blocks()).expect("opens").slots().expect("reads");
        assert_eq!(slots[0], Ok(slot(1, 9000)));
        match &slots[1] {
            Ok(whole) => assert!(*whole == slot(2, 50_000) || *whole == slot(3, 20_000)),
            Err(absent) => assert!(matches!(absent, Absent::Checksum | Absent::Length), "{absent}"),
        }
    }
}

#[test]
fn a_panic_is_counted_by_one_write_and_a_damaged_sector_counts_none() {
    let disk = casemate_tests::disk::TestDisk::blank(SMALL);
    let state = State::open(disk.blocks()).expect("formats");
    let now = state.crash().expect("reads").expect("written when formatted");
    state.crash_marker(now).panicked(12);
    let counted = CrashSector { count: 1, last: Some(Crash::Panic) };
    assert_eq!(state.crash().expect("reads"), Some(counted));
    disk.flip(header::CRASH, 150);
    assert_eq!(State::open(disk.blocks()).expect("opens").crash().expect("reads"), None);
}

#[tokio::test]
async fn a_real_file_holds_a_log_and_slots() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let open = || std::sync::Arc::new(Disk::file(&path, SMALL).expect("opens"));
    let slot = Slot {
        write_number: 1,
        label: 7,
        branches: heapless::Vec::new(),
        bundle: vec![3; 700_000],
        blob: Some(vec![4; 200]),
    };
    State::open(open()).expect("formats").write_slot(2, &slot).expect("writes");
    let state = State::open(open()).expect("opens");
    assert_eq!(state.slots().expect("reads")[2], Ok(slot));
    let chain = casemate_tests::log::chain(7);
    let counter = casemate_tests::log::Counter::default();
    for boot in 0..3u32 {
        let log = Log::before_root(casemate_tests::log::clock());
        let start = casemate_appliance::audit::Start {
            ring: State::open(open()).expect("opens").ring(),
            chain: &chain,
            namespace: casemate_tests::log::label("test"),
            host: casemate_tests::log::label("box-1"),
            from_blob: boot > 0,
            tick: Box::new(counter.clone()),
            terms: Rig::new().terms,
        };
        let started = log.start(start, &mut |_| {}).expect("starts");
        assert_eq!(started.continued, boot > 0);
        log.record_all((0..100).map(|n| item("rails", n)).collect()).await.expect("recorded");
    }
}

#[tokio::test]
async fn a_hundred_thousand_records_are_all_there_after_a_boot() {
    let mut rig = Rig::new();
    rig.disk = casemate_tests::disk::TestDisk::blank(802 + 8192);
    rig.terms.clients.clear();
    rig.terms.overwrite = true;
    let (log, ..) = rig.boot().expect("starts");
    for batch in 0..100 {
        log.record_all((0..1000).map(|n| item("rails", batch * 1000 + n)).collect())
            .await
            .expect("recorded");
    }
    log.record(alarm()).await.expect("recorded");
    drop(log);
    let (log, started, replayed) = rig.boot().expect("starts");
    assert!(started.continued);
    assert!(replayed.len() < 70_000, "only the tail is replayed: {}", replayed.len());
    let mut next = 0;
    let mut seen = Vec::new();
    loop {
        let blocks = log.blocks(next, Duration::ZERO).await.expect("blocks");
        let Some(last) = blocks.last() else { break };
        next = last.number + 1;
        for block in &blocks {
            let records = casemate_formats::audit::record::Record::decode_all(&block.records);
            seen.extend(numbers(&records.expect("records")));
        }
    }
    assert_eq!(seen, (0..100_000).collect::<Vec<_>>());
}
