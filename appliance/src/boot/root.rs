//! Enter, unseal, leave: the part of the boot in which a sealed root may open.

use std::sync::Arc;

use casemate_core::update::Boot;
use casemate_formats::{
    anchors::Anchors,
    digest::Digest,
    measure::{ENTER, LEAVE},
};

use super::{Refusal, Stop, WithDisk, entropy, secure_boot};
use crate::{
    life::{Life, LifeError, Machine},
    platform::{
        console::{Word, say},
        power,
    },
    state::State,
    tpm::Tpm,
    update::{self, DbChange},
};

/// The PCR of the image and its phases.
const IMAGE_PCR: u8 = 11;

/// PCR 11 says `enter-casemate`: a sealed root may open.
pub struct Entered {
    anchors: Anchors,
    tpm: Tpm,
    event_log: Vec<u8>,
    state: State,
    machine: Machine,
    boot: Boot,
}

/// PCR 11 says `leave-casemate`: nothing on this boot can unseal any more. What was opened is open.
pub struct Left {
    /// Slots, root and phase.
    pub life: Life,
    /// The TPM.
    pub tpm: Tpm,
    /// The disk.
    pub state: Arc<State>,
    /// The firmware's event log.
    pub event_log: Vec<u8>,
    /// The running image's id.
    pub image: Digest,
    /// Whether that is on trial, or what became of the last trial.
    pub boot: Boot,
    /// A certificate of the site that this machine's db has not yet.
    pub(super) db: Option<DbChange>,
}

impl WithDisk {
    /// Extends PCR 11 with `enter-casemate`.
    ///
    /// # Errors
    /// `tpm-failed`, `pcr11-changed`.
    pub fn enter(self) -> Result<Entered, Stop> {
        let Self { anchors, tpm, event_log, pcr7, image, state, crash_loop, boot } = self;
        extend(&tpm, ENTER)?;
        let pcrs = tpm.pcrs().map_err(|error| entropy::refusal("reading PCRs", error));
        match pcrs {
            Ok(pcrs) if pcrs[usize::from(IMAGE_PCR)] == image && pcrs[7] == pcr7 => {
                let machine = Machine { image, pcr7, crash_loop };
                Ok(Entered { anchors, tpm, event_log, state, machine, boot })
            }
            Ok(_) => Err(stop_left(&tpm, Refusal::Pcr11Changed)),
            Err(refusal) => Err(stop_left(&tpm, refusal)),
        }
    }
}

impl Entered {
    /// Reads the slots, verifies their bundles, unseals, finishes increments, reseals; then, whatever
    /// became of it, extends PCR 11 with `leave-casemate`.
    ///
    /// # Errors
    /// `tpm-failed`, `state`: TPM or disk do not work at all. A root that does not open is no error
    /// but the phase `locked`, with its reason.
    pub fn open_root(self) -> Result<Left, Stop> {
        let Self { anchors, tpm, event_log, state, machine, boot } = self;
        let (state, image) = (Arc::new(state), machine.image);
        let db = secure_boot::db_change(&anchors, &event_log);
        let opened = Life::open(tpm.clone(), Arc::clone(&state), anchors, machine);
        extend(&tpm, LEAVE)?;
        let mut life = opened.map_err(|error| match error {
            LifeError::Tpm(error) => entropy::refusal("opening the root", error),
            LifeError::State(error) => Refusal::State(error),
        })?;
        for (slot, what) in life.damaged() {
            say(Word::Disk, format_args!("slot {slot} cannot be used: {what}"));
        }
        if boot == Boot::Trial {
            life.set_trial(true);
            if !update::may_stay(life.phase()) {
                say(Word::Trial, format_args!("this image's root does not open: {}", life.phase()));
                power::reboot("an image on trial does not open the root");
            }
        }
        Ok(Left { life, tpm, state, event_log, image, boot, db })
    }
}

/// A boot that stops after `enter-casemate` leaves all the same.
fn stop_left(tpm: &Tpm, refusal: Refusal) -> Stop {
    match extend(tpm, LEAVE) {
        Ok(()) => refusal.into(),
        Err(second) => Stop(vec![refusal, second]),
    }
}

fn extend(tpm: &Tpm, word: &str) -> Result<(), Refusal> {
    tpm.extend(IMAGE_PCR, word).map_err(|error| entropy::refusal("extending PCR 11", error))
}
