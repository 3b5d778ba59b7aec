//! Sealing, counters and identity of the TPM room, on a software TPM.

use casemate_appliance::tpm::{Counter, SealPolicy, Tpm, TpmError};
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
    let refused = tpm.unseal(&blob, &policy).unwrap_err();
    assert_eq!(refused, TpmError::PolicyRefused("the counter is beyond the label"));
    unharmed(&tpm);
}
