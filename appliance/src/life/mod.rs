//! The life of a box: the sole joiner of slots, seal and counter (`open`, `accept`, `genesis`,
//! `retire`). Boot and endpoints call it; so do `tests/host` and the crash tests.

use std::sync::Arc;

use casemate_core::{phase::Phase, root::Chain};
use casemate_formats::{
    anchors::Anchors,
    bundle::{Verified, body::Host},
    code::Code,
    digest::Digest,
    genesis,
};

use crate::tpm::Tpm;

/// What this boot measured, as far as sealing depends on it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// PCR 11 after `enter-casemate`: the running image's id.
    pub image: Digest,
    /// PCR 7 now.
    pub pcr7: Digest,
    /// Three panics within ten minutes of boot: the root stays closed (`crash-loop`).
    pub crash_loop: bool,
}

/// How the root came to be open on this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A sealed blob of this host opened.
    Blob,
    /// It was made here and the bundle in force names it, or it was handed in.
    Fresh,
}

/// What became of an accepted bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the one in force already.
    Again,
    /// It is in force now; the phase did not change.
    InForce,
    /// It is in force and its root is open: this boot is Operational from now on.
    Entered,
    /// This host is retired: nothing is kept, the machine must reboot now.
    Retired,
}

/// Slots, seal and counter of one box.
pub struct Life {}

impl Life {
    /// Where this boot stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        todo!()
    }

    /// The bundle in force.
    #[must_use]
    pub fn bundle(&self) -> Option<Arc<Verified>> {
        todo!()
    }

    /// This box in it.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        todo!()
    }

    /// How the root was opened, once it is.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        todo!()
    }

    /// HPKE public key (X25519) of this boot.
    #[must_use]
    pub fn hpke_key(&self) -> Digest {
        todo!()
    }

    /// Every generation's root, once it is open.
    #[must_use]
    pub fn chain(&self) -> Option<Arc<Chain>> {
        todo!()
    }

    /// Takes a bundle into force. Durable when it returns; an error changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&mut self, envelope: &[u8]) -> Result<Accepted, Refused> {
        let _ = envelope;
        todo!()
    }

    /// Makes or shares the root that the bundle in force asks for, and has it quoted.
    ///
    /// # Errors
    /// Why not.
    pub fn genesis(&mut self) -> Result<genesis::Answer, Refused> {
        todo!()
    }
}

/// Why a bundle or genesis was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the caller is told.
    pub code: Code,
    /// Number and digest of the bundle, where it was signed by enough of the anchors' signers.
    pub bundle: Option<(u64, Digest)>,
    /// What was expected and found; no secret.
    pub detail: Option<String>,
}

/// Opens what the disk holds. The result is always a life; only a TPM or a disk that does not
/// answer at all is an error.
///
/// # Errors
/// [`crate::tpm::TpmError`].
pub fn open(tpm: Tpm, anchors: Anchors, machine: Machine) -> Result<Life, crate::tpm::TpmError> {
    let _ = (tpm, anchors, machine);
    todo!()
}
