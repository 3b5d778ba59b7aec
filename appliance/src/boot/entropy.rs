//! Seed: no key is made before the kernel's generator is seeded, and the TPM's randomness is in it.

use std::{fs::OpenOptions, io::Write as _};

use casemate_formats::anchors::Anchors;

use super::{
    Keyed, Refusal, Stop,
    secure_boot::{Measured, TPM_DEVICE},
};
use crate::{
    platform::{
        console::{Word, say},
        watchdog::Watchdog,
    },
    tpm::{Tpm, TpmError},
};

/// Bytes of the TPM's randomness that are mixed in: as many as the generator's state has.
const BYTES: usize = 32;

/// The TPM is open, and its randomness is mixed into the kernel's.
pub struct Seeded {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) measured: Measured,
    pub(super) tpm: Tpm,
}

impl Keyed {
    /// Blocks until the kernel's generator is seeded, opens the TPM, and mixes its randomness in
    /// through an encrypted session: it earns no credit, and hurts in no case.
    ///
    /// # Errors
    /// `no-randomness`, `no-tpm`, `no-sha256-bank`, `foreign-tpm-owner`, `tpm-failed`.
    pub fn seed(self) -> Result<Seeded, Stop> {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(|e| Refusal::NoRandomness(e.to_string()))?;
        let tpm = Tpm::open(&format!("device:{TPM_DEVICE}"), None)
            .map_err(|error| refusal("opening", error))?;
        let random = tpm.random(BYTES).map_err(|error| refusal("random numbers", error))?;
        OpenOptions::new()
            .write(true)
            .open("/dev/urandom")
            .and_then(|mut pool| pool.write_all(&random))
            .map_err(|e| Refusal::NoRandomness(e.to_string()))?;
        say(Word::Ek, tpm.identity().ek.fingerprint().short());
        let Self { anchors, watchdog, measured } = self;
        Ok(Seeded { anchors, watchdog, measured, tpm })
    }
}

/// The refusal that a TPM's error is.
pub(super) fn refusal(step: &'static str, cause: TpmError) -> Refusal {
    match cause {
        TpmError::Absent => Refusal::NoTpm,
        TpmError::NoSha256Bank => Refusal::NoSha256Bank,
        TpmError::ForeignOwner => Refusal::ForeignTpmOwner,
        cause => Refusal::TpmFailed { step, cause },
    }
}
