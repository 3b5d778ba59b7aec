//! The NV counters: only upwards, across power cuts and clears, and never somebody else's index.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::tpm::{Counter, Tpm, TpmError};
use casemate_tests::swtpm::SoftTpm;

fn open(soft: &SoftTpm) -> Tpm {
    Tpm::open(&soft.tcti(), None).expect("opens")
}

#[test]
fn a_counter_is_missing_until_it_is_defined_and_defining_it_again_changes_nothing() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    for counter in [Counter::Seal, Counter::Tick] {
        assert_eq!(tpm.counter(counter), Ok(None));
        assert_eq!(tpm.increment(counter), Err(TpmError::NoCounter));
        assert_eq!(tpm.raise(counter, 5), Err(TpmError::NoCounter));
        let first = tpm.define_counter(counter).unwrap();
        assert_eq!(tpm.define_counter(counter), Ok(first));
        assert_eq!(tpm.counter(counter), Ok(Some(first)));
    }
    assert_eq!(tpm.lockout_counter(), Ok(0));
}

#[test]
fn it_goes_up_one_by_one_and_never_down() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let first = tpm.define_counter(Counter::Seal).unwrap();
    tpm.define_counter(Counter::Tick).unwrap();
    assert_eq!(tpm.increment(Counter::Seal), Ok(first + 1));
    assert_eq!(tpm.raise(Counter::Seal, first + 66), Ok(first + 66));
    assert_eq!(tpm.raise(Counter::Seal, first), Ok(first + 66), "a lower goal changes nothing");
    assert_eq!(tpm.counter(Counter::Seal), Ok(Some(first + 66)));
}

#[test]
fn no_acknowledged_increment_is_lost_in_a_power_cut() {
    let mut soft = SoftTpm::blank().unwrap();
    let mut expected = open(&soft).define_counter(Counter::Seal).unwrap();
    for _ in 0..20 {
        let tpm = open(&soft);
        assert_eq!(tpm.counter(Counter::Seal), Ok(Some(expected)));
        expected = tpm.increment(Counter::Seal).unwrap();
        soft.power_off();
        drop(tpm);
        soft.power_cycle().unwrap();
    }
    let tpm = open(&soft);
    assert_eq!(tpm.counter(Counter::Seal), Ok(Some(expected)));
    assert_eq!(tpm.lockout_counter(), Ok(0));
}

#[test]
fn an_ordinary_index_at_its_place_is_not_believed_but_replaced() {
    let soft = SoftTpm::blank().unwrap();
    let before = open(&soft).define_counter(Counter::Tick).unwrap();
    // TPM2_NV_DefineSpace by the owner: 8 bytes, ordinary, authread and authwrite: it can be set back.
    let public = [
        &Counter::Seal.index().to_be_bytes()[..],
        &[0, 0x0b],
        &(1_u32 << 2 | 1 << 18 | 1 << 25).to_be_bytes(),
        &[0, 0, 0, 8],
    ]
    .concat();
    soft.command(0x12a, &[0x4000_0001], &[&[0, 0, 0, 14][..], &public].concat()).unwrap();
    let tpm = open(&soft);
    assert_eq!(tpm.counter(Counter::Seal), Ok(None));
    let value = tpm.define_counter(Counter::Seal).unwrap();
    assert!(value > 0 && before > 0);
    assert_eq!(tpm.increment(Counter::Seal), Ok(value + 1), "it counts now");
    assert_eq!(tpm.lockout_counter(), Ok(0));
}
