//! Which slot of `state` is in force, which may live, which is written next and how far the seal
//! counter moves: plans, no effects (design, section 6; decisions 1 to 3). Whoever carries a plan
//! out does its steps in order and flushes each; a power cut after any step is planned for.

use casemate_formats::{digest::Digest, limits::LABEL_STEP};

/// Slots of `state`.
pub const SLOTS: usize = 3;
/// Increments that begin a new life: more than any label of an earlier one is ahead of the counter.
pub const NEW_LIFE: u64 = LABEL_STEP + 1;

/// How a slot's blob did on this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blob {
    /// There is none.
    None,
    /// Not tried.
    Untried,
    /// It loaded, opened, and its content matched its bundle.
    Opened,
    /// It did not.
    Failed,
}

/// A slot whose checksum holds and whose bundle verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number of its bundle.
    pub seq: u64,
    /// Which write this was; higher than every earlier one.
    pub write_number: u64,
    /// Digest of its bundle.
    pub digest: Digest,
    /// Highest counter value at which its blob opens. Not authenticated before it has opened.
    pub label: u64,
    /// Its blob.
    pub blob: Blob,
}

/// The slots and the counter, as they were read.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// `None`: empty, torn, or not verified.
    pub slots: [Option<Slot>; SLOTS],
    /// The seal counter; `None`: not defined, or never incremented.
    pub counter: Option<u64>,
}

/// Which slot is written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// First, begin a new life: define the counter if it is missing, then [`NEW_LIFE`] increments.
    pub new_life: bool,
    /// Then write and flush this slot, ...
    pub slot: usize,
    /// ... with this write number, ...
    pub write_number: u64,
    /// ... and a blob or none; see [`Plan::label`].
    pub blob: bool,
    label: u64,
    /// Then increment the counter until it is at least this ([`Plan::raise_to`]).
    raise: Option<u64>,
}

/// What a box has to keep when it accepts a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A root, or a pending one: seal it.
    Seal,
    /// Nothing is open: leave what may live.
    Leave,
    /// The bundle wants nothing kept here (`sealed = false`, `retired`): end what may live.
    Destroy,
}

/// Why a bundle is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A bundle with a higher number is in force.
    #[error("the bundle in force has the higher number {in_force}")]
    SeqLower {
        /// Its number.
        in_force: u64,
    },
    /// Another bundle with the same number is in force.
    #[error("another bundle with this number is in force")]
    SeqFork,
    /// Too far ahead of the blob that lives.
    #[error("the number is more than 64 ahead of {sealed}, which is sealed")]
    SeqStep {
        /// The number that the living blob was sealed under.
        sealed: u64,
    },
}

/// What accepting a bundle comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// It is in force already.
    InForce,
    /// Carry this out, then answer.
    Write(Plan),
}

impl Plan {
    /// The label of the slot and of its blob's policy; `counter` as it is once the new life began
    /// (or as it was read, where there is none).
    #[must_use]
    pub fn label(&self, counter: u64) -> u64 {
        todo!()
    }

    /// Where the counter has to be in the end; `None`: as it is.
    #[must_use]
    pub fn raise_to(&self) -> Option<u64> {
        self.raise
    }
}

impl View {
    /// The slot in force: the highest (seq, write number).
    #[must_use]
    pub fn in_force(&self) -> Option<usize> {
        todo!()
    }

    /// Slots to be tried at boot, in this order, until one opens. Empty when nothing may live.
    #[must_use]
    pub fn candidates(&self) -> Vec<usize> {
        todo!()
    }

    /// After a blob opened (its slot is [`Blob::Opened`]): the counter is raised to this first...
    #[must_use]
    pub fn finish(&self) -> Option<u64> {
        todo!()
    }

    /// ... and then, where the open blob is not the one in force, it is sealed anew under the
    /// bundle in force before anything is served.
    #[must_use]
    pub fn reseal(&self) -> Option<Plan> {
        todo!()
    }

    /// Seals anew under the bundle in force (a pending root came or went).
    #[must_use]
    pub fn seal_again(&self) -> Option<Plan> {
        todo!()
    }

    /// Plans the acceptance of a verified bundle.
    ///
    /// # Errors
    /// [`Refused`]; nothing changes.
    pub fn accept(&self, seq: u64, digest: &Digest, keep: Keep) -> Result<Accept, Refused> {
        todo!()
    }

    /// At boot, under a bundle in force that wants nothing kept here: the counter goes beyond every
    /// blob that may live. `None`: none does.
    #[must_use]
    pub fn destroy(&self) -> Option<u64> {
        todo!()
    }
}
