//! The one switch behind everything a box keeps: each write to its disk and each command to its TPM is
//! an event, and the power goes at one of them, or at any instant.
//!
//! What is guaranteed when it goes: a write that returned (the firmware writes O_DIRECT | O_DSYNC, so
//! the device has written and flushed it) and a command that was answered stand. A write that has not
//! returned may have left any part of itself, in sectors of 512 bytes or 4 KiB; with several under way
//! each is torn for itself, whichever came first. A command was carried out or not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that an older disk writes in one piece whatever happens.
const SECTOR: usize = 512;
/// The same of a newer one.
const LARGE_SECTOR: usize = 4096;

/// What a write under way leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing. Of a TPM command: it never arrived.
    Lost,
    /// The first sector.
    First,
    /// Every sector but the first.
    ButFirst,
    /// Any sectors of 512 bytes, by the bits of a seed.
    Sectors(u64),
    /// Any sectors of 4 KiB.
    Large(u64),
    /// All of it; only the answer is missing. Of a TPM command: it was carried out.
    Whole,
}

impl Cut {
    /// One of each kind, of the random ones two.
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::First,
        Self::ButFirst,
        Self::Sectors(0x5555_5555_5555_5555),
        Self::Sectors(0x9e37_79b9_7f4a_7c15),
        Self::Large(0x5555_5555_5555_5555),
        Self::Large(0xf0e1_d2c3_b4a5_9687),
        Self::Whole,
    ];

    /// Pieces of `bytes` that reach the medium, with their offsets.
    pub fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let size = if matches!(self, Self::Large(_)) { LARGE_SECTOR } else { SECTOR };
        let pieces = bytes.chunks(size).enumerate();
        pieces.filter(move |(n, _)| self.keeps(*n)).map(move |(n, piece)| (n * size, piece))
    }

    fn keeps(self, sector: usize) -> bool {
        match self {
            Self::Lost => false,
            Self::First => sector == 0,
            Self::ButFirst => sector > 0,
            Self::Sectors(seed) | Self::Large(seed) => {
                // A long write must not repeat the pattern of its first 64 sectors.
                Dice::new(seed ^ sector as u64).roll(2) == 1
            }
            Self::Whole => true,
        }
    }
}

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

/// A generator for campaigns: the same seed, the same rolls (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One that begins at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `sides` - 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// Any way to leave a write behind.
    pub fn cut(&mut self) -> Cut {
        match self.roll(8) {
            0 => Cut::Lost,
            1 => Cut::First,
            2 => Cut::ButFirst,
            3..5 => Cut::Sectors(self.next()),
            5..7 => Cut::Large(self.next()),
            _ => Cut::Whole,
        }
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
