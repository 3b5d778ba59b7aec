//! The disk: `state` opened, crashes counted, an image on trial noted as tried.

use std::{path::Path, sync::Arc};

use casemate_core::update::Boot;
use casemate_formats::{anchors::Anchors, digest::Digest, efi::partition::STATE};

use super::{Refusal, Sound, Stop, crash, trial};
use crate::{
    platform::{
        console::{Word, say},
        disk,
    },
    state::{Blocks, State, StateError, disk::Disk},
    tpm::Tpm,
};

pub(super) const SYSFS: &str = "/sys/class/block";
pub(super) const DEVICES: &str = "/dev";

/// The disk is open; nothing of it is believed yet.
pub struct WithDisk {
    pub(super) anchors: Anchors,
    pub(super) tpm: Tpm,
    pub(super) event_log: Vec<u8>,
    pub(super) pcr7: Digest,
    pub(super) image: Digest,
    pub(super) state: State,
    pub(super) crash_loop: bool,
    pub(super) boot: Boot,
}

impl Sound {
    /// Finds and opens the `state` partition, counts crashes, and notes a trial.
    ///
    /// # Errors
    /// `no-disk`, `state`.
    pub fn open_disk(self) -> Result<WithDisk, Stop> {
        let device =
            disk::find(&STATE, Path::new(SYSFS), Path::new(DEVICES)).map_err(Refusal::NoDisk)?;
        say(Word::Disk, device.display());
        let blocks: Arc<dyn Blocks> =
            Arc::new(Disk::partition(&device).map_err(|e| Refusal::State(StateError::Io(e)))?);
        let state = State::open(Arc::clone(&blocks)).map_err(Refusal::State)?;
        let fired = self.watchdog.is_some_and(|watchdog| watchdog.fired);
        let crash = crash::account(&state, blocks, fired).map_err(Refusal::State)?;
        let boot = trial::begin(&state, self.image);
        let Self { anchors, tpm, event_log, pcr7, image, .. } = self;
        Ok(WithDisk {
            anchors,
            tpm,
            event_log,
            pcr7,
            image,
            state,
            crash_loop: crash.looping(),
            boot,
        })
    }
}
