//! Everything an endpoint may touch: the facts of this boot, the TPM, the life of the root, and the
//! snapshot of what is in force now, swapped as a whole when a bundle is accepted.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use casemate_core::phase::Phase;
use casemate_formats::{bundle::Verified, digest::Digest};

use crate::tpm::Tpm;

/// What is true from the opening of the port to the end of this boot.
pub struct BootFacts {
    /// PCR 11 after `enter-casemate`: the running image's id.
    pub image: Digest,
    /// The firmware's event log, as securityfs gave it.
    pub event_log: Vec<u8>,
    /// Addresses of this box, for the subject alternative names of its certificate.
    pub addresses: Vec<IpAddr>,
    /// Unix seconds by the machine's clock; whether they can be believed is for the house to say.
    pub clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Called once when Operational ends (retirement): zeroizes and reboots.
    pub leave: Box<dyn Fn() + Send + Sync>,
}

/// What is in force, read once per request: a request is served by one state of affairs.
pub struct Snapshot {
    /// Where this boot stands.
    pub phase: Phase,
    /// The bundle in force.
    pub bundle: Option<Arc<Verified>>,
}

/// Shared by all connections.
pub struct House {
    /// Facts of this boot.
    pub boot: BootFacts,
    /// The TPM's owner thread.
    pub tpm: Tpm,
    snapshot: RwLock<Arc<Snapshot>>,
    changing: Mutex<()>,
}

impl House {
    /// What is in force now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }
}
