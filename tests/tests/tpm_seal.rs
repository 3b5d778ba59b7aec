//! Sealing and opening on a software TPM: what must hold, and by which name each refusal goes.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::tpm::{Blob, Counter, SEALED_BYTES, SealPolicy, Tpm, TpmError};
use casemate_formats::{digest::Digest, measure};
use casemate_tests::swtpm::SoftTpm;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"thirty-two bytes of a root, here";

fn open(soft: &SoftTpm) -> Tpm {
    Tpm::open(&soft.tcti(), None).expect("opens")
}

/// The policy for what the TPM's PCRs are now.
fn policy_of_now(tpm: &Tpm, label: u64) -> SealPolicy {
    let pcrs = tpm.pcrs().expect("reads PCRs");
    let now = measure::branch(pcrs[7], pcrs[11], pcrs[12], pcrs[13]);
    SealPolicy { branches: vec![now], label }
}

fn secret() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(SECRET.to_vec())
}

/// The end of every test: no failed authorisation was counted, nothing is left loaded.
fn unharmed(tpm: &Tpm) {
    assert_eq!(tpm.lockout_counter(), Ok(0));
    assert!(tpm.open_handles().expect("counts") <= 2, "more than EK and SRK are loaded");
}

fn refusal(tpm: &Tpm, blob: &Blob, policy: &SealPolicy) -> TpmError {
    tpm.unseal(blob, policy).expect_err("is refused")
}

#[test]
fn what_was_sealed_opens_while_the_counter_is_at_most_the_label() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let counter = tpm.define_counter(Counter::Seal).unwrap();
    let policy = policy_of_now(&tpm, counter + 2);
    let blob = tpm.seal(secret(), &policy).unwrap();
    for _ in 0..3 {
        assert_eq!(tpm.unseal(&blob, &policy).unwrap().as_slice(), SECRET);
        tpm.increment(Counter::Seal).unwrap();
    }
    assert_eq!(
        refusal(&tpm, &blob, &policy),
        TpmError::PolicyRefused("the counter is beyond the label")
    );
    unharmed(&tpm);
}

#[test]
fn any_of_eight_branches_opens_and_no_ninth_is_taken() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let label = tpm.define_counter(Counter::Seal).unwrap();
    let now = policy_of_now(&tpm, label).branches[0];
    for (count, place) in [(1, 0), (2, 0), (2, 1), (8, 0), (8, 7)] {
        let mut branches: Vec<Digest> = (0..count).map(|n| Digest::sha256(&[n])).collect();
        branches[place] = now;
        let policy = SealPolicy { branches, label };
        let blob = tpm.seal(secret(), &policy).unwrap();
        assert_eq!(tpm.unseal(&blob, &policy).unwrap().as_slice(), SECRET, "{count} {place}");
    }
    for branches in [vec![], vec![now; 9]] {
        let refused = tpm.seal(secret(), &SealPolicy { branches, label }).unwrap_err();
        assert!(matches!(refused, TpmError::PolicyRefused(_)));
    }
    unharmed(&tpm);
}

#[test]
fn no_other_pcr_and_no_word_later_opens_it() {
    for pcr in [7, 11, 12, 13] {
        let soft = SoftTpm::blank().unwrap();
        let tpm = open(&soft);
        tpm.extend(11, measure::ENTER).unwrap();
        let policy = policy_of_now(&tpm, tpm.define_counter(Counter::Seal).unwrap());
        let blob = tpm.seal(secret(), &policy).unwrap();
        assert_eq!(tpm.unseal(&blob, &policy).unwrap().as_slice(), SECRET);
        tpm.extend(pcr, measure::LEAVE).unwrap();
        let expected = TpmError::PolicyRefused("no branch has the PCRs of now");
        assert_eq!(refusal(&tpm, &blob, &policy), expected, "PCR {pcr}");
        unharmed(&tpm);
    }
}

#[test]
fn a_blob_opens_under_its_own_label_and_branches_alone() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let policy = policy_of_now(&tpm, tpm.define_counter(Counter::Seal).unwrap() + 5);
    let blob = tpm.seal(secret(), &policy).unwrap();
    let mut other = policy.clone();
    other.branches.push(Digest::sha256(b"another image"));
    for wrong in [SealPolicy { label: policy.label + 1, ..policy.clone() }, other] {
        let expected = TpmError::PolicyRefused("the object was sealed under another one");
        assert_eq!(refusal(&tpm, &blob, &wrong), expected);
    }
    unharmed(&tpm);
}

#[test]
fn another_tpms_blob_and_a_changed_one_are_foreign() {
    let (here, there) = (SoftTpm::blank().unwrap(), SoftTpm::blank().unwrap());
    let (tpm, other) = (open(&here), open(&there));
    let label = tpm.define_counter(Counter::Seal).unwrap();
    let policy = policy_of_now(&tpm, label + 64);
    other.define_counter(Counter::Seal).unwrap();
    let foreign = other.seal(secret(), &policy).unwrap();
    assert_eq!(refusal(&tpm, &foreign, &policy), TpmError::ForeignObject);

    let blob = tpm.seal(secret(), &policy).unwrap();
    let mut refused = 0;
    for part in [0, 1] {
        let bytes = |blob: &mut Blob| match part {
            0 => std::mem::take(&mut blob.public),
            _ => std::mem::take(&mut blob.private),
        };
        let length = bytes(&mut blob.clone()).len();
        for position in 0..=length {
            let mut changed = blob.clone();
            let mut some = bytes(&mut changed);
            match some.get_mut(position) {
                Some(byte) => *byte ^= 0x10,
                None => some.push(0),
            }
            match part {
                0 => changed.public = some,
                _ => changed.private = some,
            }
            let error = refusal(&tpm, &changed, &policy);
            assert!(
                matches!(error, TpmError::ForeignObject | TpmError::PolicyRefused(_)),
                "part {part}, byte {position}: {error:?}"
            );
            refused += 1;
        }
    }
    assert!(refused > 200, "only {refused} changes were tried");
    unharmed(&tpm);
}

#[test]
fn a_cleared_tpm_has_no_counter_and_opens_nothing_but_is_the_same_tpm() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let before = tpm.identity();
    let old = tpm.define_counter(Counter::Seal).unwrap();
    let policy = policy_of_now(&tpm, old);
    let blob = tpm.seal(secret(), &policy).unwrap();
    drop(tpm);
    soft.clear().unwrap();
    let tpm = open(&soft);
    assert_eq!((&tpm.identity().ek, &tpm.identity().ak), (&before.ek, &before.ak));
    assert_eq!(tpm.counter(Counter::Seal), Ok(None));
    assert_eq!(refusal(&tpm, &blob, &policy), TpmError::ForeignObject);
    let new = tpm.define_counter(Counter::Seal).unwrap();
    assert!(new > old, "a new counter must start above the old one: {new}, {old}");
    assert_eq!(refusal(&tpm, &blob, &policy), TpmError::ForeignObject);
    unharmed(&tpm);
}

#[test]
fn a_foreign_owner_authorisation_is_named_and_costs_nothing() {
    let soft = SoftTpm::blank().unwrap();
    soft.own(b"somebody else").unwrap();
    let tpm = open(&soft);
    let policy = SealPolicy { branches: vec![Digest::ZERO], label: 1 };
    assert_eq!(tpm.seal(secret(), &policy).unwrap_err(), TpmError::ForeignOwner);
    assert_eq!(tpm.define_counter(Counter::Seal).unwrap_err(), TpmError::ForeignOwner);
    unharmed(&tpm);
}

#[test]
fn it_takes_128_bytes_and_not_one_more() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let policy = policy_of_now(&tpm, tpm.define_counter(Counter::Seal).unwrap());
    let most = Zeroizing::new(vec![7; SEALED_BYTES]);
    let blob = tpm.seal(most.clone(), &policy).unwrap();
    assert_eq!(*tpm.unseal(&blob, &policy).unwrap(), *most);
    assert!(tpm.seal(Zeroizing::new(vec![7; SEALED_BYTES + 1]), &policy).is_err());
    unharmed(&tpm);
}

#[test]
fn a_hundred_cycles_leave_no_handle() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    let policy = policy_of_now(&tpm, tpm.define_counter(Counter::Seal).unwrap());
    let wrong = SealPolicy { branches: vec![Digest::ZERO], ..policy.clone() };
    tpm.seal(secret(), &policy).unwrap();
    let before = tpm.open_handles().unwrap();
    for _ in 0..100 {
        let blob = tpm.seal(secret(), &policy).unwrap();
        assert_eq!(tpm.unseal(&blob, &policy).unwrap().as_slice(), SECRET);
        let unsatisfied = tpm.seal(secret(), &wrong).unwrap();
        refusal(&tpm, &unsatisfied, &wrong);
        refusal(&tpm, &blob, &wrong);
        tpm.quote(&Digest::ZERO).unwrap();
    }
    assert_eq!(tpm.open_handles().unwrap(), before);
    unharmed(&tpm);
}
