//! Header, crash sector, slot: golden files, every flipped bit, any bytes.

use proptest::prelude::*;

use super::*;
use crate::{digest::Digest, golden::golden};

fn slot(bundle: usize, blob: Option<usize>) -> Slot {
    Slot {
        write_number: 41,
        label: 42,
        branches: heapless::Vec::from_slice(&[Digest([1; 32]), Digest([2; 32])]).expect("two"),
        bundle: (0..bundle).map(|i| u8::try_from(i % 251).expect("small")).collect(),
        blob: blob.map(|length| vec![0xbb; length]),
    }
}

#[test]
fn a_header_has_the_bytes_it_always_had() {
    let geometry = Geometry::of(16_384).expect("64 MiB are enough");
    golden("state/header.v1.bin", &geometry.encode());
    assert_eq!((geometry.tail, geometry.ring, geometry.ring_units), (770, 802, 16_384 - 802));
}

#[test]
fn a_crash_sector_has_the_bytes_it_always_had() {
    let sector = CrashSector { count: 2, last: Some(Crash::Watchdog) };
    golden("state/crash.v1.bin", &sector.encode());
}

#[test]
fn a_trial_sector_has_the_bytes_it_always_had_and_no_slot_reaches_it() {
    let sector = TrialSector::new(Stage::Armed, Digest([7; 32]));
    golden("state/trial.v1.bin", &sector.encode());
    let largest = slot(crate::limits::BUNDLE_BYTES, Some(slot::BLOB_BYTES)).encode().expect("fits");
    let end = header::FIRST_SLOT + 2 * slot::SLOT_UNITS + (largest.len() / UNIT) as u64;
    assert!(end <= header::TRIAL && header::TRIAL < Geometry::of(16_384).expect("fits").tail);
}

#[test]
fn a_trial_sector_comes_back_and_any_flipped_bit_of_it_is_noticed() {
    for stage in [Stage::Idle, Stage::Armed, Stage::Tried, Stage::Copying] {
        let sector = TrialSector::new(stage, Digest([9; 32]));
        let bytes = sector.encode();
        assert_eq!(TrialSector::decode(&bytes), Some(sector));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TrialSector::decode(&flipped), None, "bit {bit}");
        }
    }
    assert_eq!(TrialSector::decode(&[0; UNIT]), None);
}

#[test]
fn a_slot_has_the_bytes_it_always_had() {
    golden("state/slot.v1.bin", &slot(700, Some(400)).encode().expect("fits"));
}

#[test]
fn a_slot_comes_back_at_every_size() {
    let limit = crate::limits::BUNDLE_BYTES;
    for bundle in [1, 3000, 4096, limit] {
        for blob in [None, Some(0), Some(1), Some(slot::BLOB_BYTES)] {
            let slot = slot(bundle, blob);
            let mut bytes = slot.encode().expect("fits");
            assert!(bytes.len() <= slot::SLOT_BYTES && bytes.len().is_multiple_of(UNIT));
            assert_eq!(slot::claimed_bytes(&bytes[..UNIT]), bytes.len());
            // Remains of a longer one behind it.
            bytes.extend([0xff; UNIT]);
            assert_eq!(Slot::decode(&bytes), Ok(slot));
        }
    }
    assert_eq!(slot(limit + 1, None).encode(), None);
    assert_eq!(slot(0, None).encode(), None);
    assert_eq!(slot(1, Some(slot::BLOB_BYTES + 1)).encode(), None);
}

#[test]
fn any_flipped_bit_of_a_slot_is_refused_by_name() {
    let bytes = slot(300, Some(200)).encode().expect("fits");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let absent = Slot::decode(&flipped).expect_err("changed");
        match bit / 8 {
            0..16 => assert_eq!(absent, Absent::Foreign),
            16..18 => assert_eq!(absent, Absent::Version),
            _ => {
                assert!(matches!(absent, Absent::Length | Absent::Checksum), "bit {bit}: {absent}");
            }
        }
    }
}

#[test]
fn a_write_number_after_which_there_might_be_no_higher_one_is_refused() {
    let mut last = slot(300, None);
    last.write_number = slot::LAST_WRITE;
    let bytes = last.encode().expect("the last one");
    assert_eq!(Slot::decode(&bytes).as_ref(), Ok(&last));
    last.write_number += 1;
    assert_eq!(last.encode(), None);
    for beyond in [slot::LAST_WRITE + 1, u64::MAX] {
        let mut bytes = bytes.clone();
        bytes[18..26].copy_from_slice(&beyond.to_be_bytes());
        let covered = 16 + 2 + 8 + 8 + 1 + 64 + 4 + 4 + 300;
        let checksum = crate::digest::tagged("slot", &[&bytes[..covered]]);
        bytes[covered..covered + 32].copy_from_slice(&checksum.0);
        assert_eq!(Slot::decode(&bytes), Err(Absent::WriteNumber));
    }
}

#[test]
fn any_flipped_bit_of_a_header_is_refused() {
    let bytes = Geometry::of(16_384).expect("enough").encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Geometry::decode(&flipped), Ok(None), "bit {bit}");
    }
}

#[test]
fn a_whole_header_of_a_later_format_is_named() {
    let mut bytes = Geometry::of(16_384).expect("enough").encode();
    bytes[17] = 9;
    let checksum = crate::digest::tagged("state-header", &[&bytes[..54]]);
    bytes[54..86].copy_from_slice(&checksum.0);
    assert_eq!(Geometry::decode(&bytes), Err(HeaderError::Version(9)));
}

#[test]
fn any_flipped_bit_of_a_crash_sector_is_refused() {
    let bytes = CrashSector { count: 2, last: Some(Crash::Panic) }.encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(CrashSector::decode(&flipped), None, "bit {bit}");
    }
}

#[test]
fn three_crashes_within_ten_minutes_are_a_loop_and_one_long_life_ends_it() {
    let mut sector = CrashSector::default();
    for crash in [Crash::Panic, Crash::Watchdog, Crash::Panic] {
        assert!(!sector.looping());
        sector = sector.after(crash, 30);
    }
    assert!(sector.looping());
    assert!(!sector.after(Crash::Panic, crash::WINDOW_S + 1).looping());
}

#[test]
fn a_partition_that_is_too_small_is_named() {
    let least = 802 + header::RING_UNITS_MIN;
    assert!(Geometry::of(least).is_ok());
    assert_eq!(Geometry::of(least - 1), Err(HeaderError::TooSmall(least - 1)));
}

proptest! {
    #[test]
    fn no_bytes_upset_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..9000), kind in 0..3) {
        let mut bytes = bytes;
        let magic: &[u8] = match kind {
            0 => b"casemate.slot\0\0\0\0\x01",
            1 => b"casemate.state\0\0\0\x01",
            _ => b"casemate.crash\0\0\0\x01",
        };
        let length = magic.len().min(bytes.len());
        bytes[..length].copy_from_slice(&magic[..length]);
        prop_assert!(Slot::decode(&bytes).is_err());
        prop_assert_eq!(Geometry::decode(&bytes), Ok(None));
        prop_assert_eq!(CrashSector::decode(&bytes), None);
    }
}
