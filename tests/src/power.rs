//! The one switch behind everything a box keeps: each write to its disk and each command to its TPM is
//! an event, and the power goes at one of them, or at any instant.
//!
//! What is guaranteed when it goes: a write that returned (the firmware writes O_DIRECT | O_DSYNC, so
//! the device has written and flushed it) and a command that was answered stand. A write that has not
//! returned may have left any part of itself, in sectors of 512 bytes or 4 KiB; with several under way
//! each is torn for itself, whichever came first. A command was carried out or not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use casemate_qemu::torn::{Cut, Dice};

/// What happened under a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write of this many bytes, with its flush.
    Write(usize),
    /// A command with this TPM_CC.
    Command(u32),
}

/// The power is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Off;

/// A switch. Clones are the same one.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    cut: Option<(usize, Cut)>,
    off: bool,
}

impl Power {
    /// The power goes at event number `event` (counted from the first one, 0), which is left behind so.
    pub fn cut_at(&self, event: usize, cut: Cut) {
        self.inner().cut = Some((event, cut));
    }

    /// The power goes now.
    pub fn cut(&self) {
        self.inner().off = true;
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner().off
    }

    /// Everything that happened so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.inner().events.clone()
    }

    /// An event begins: `Some` if the power goes during it.
    ///
    /// # Errors
    /// It is gone already.
    pub fn begin(&self, event: Event) -> Result<Option<Cut>, Off> {
        let mut inner = self.inner();
        if inner.off {
            return Err(Off);
        }
        let number = inner.events.len();
        inner.events.push(event);
        let cut = inner.cut.filter(|(at, _)| *at == number).map(|(_, cut)| cut);
        inner.off = cut.is_some();
        Ok(cut)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many runs a campaign makes: `CASEMATE_CAMPAIGN`, or what CI has time for. And its first seed:
/// `CASEMATE_SEED`, or 1. Each failure names the seed that shows it again.
#[must_use]
pub fn campaign(in_ci: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("CASEMATE_SEED").unwrap_or(1);
    let seeds = first..first + number("CASEMATE_CAMPAIGN").unwrap_or(in_ci);
    println!("campaign: seeds {seeds:?}");
    seeds
}
