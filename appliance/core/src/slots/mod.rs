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
    /// It loaded, opened, and its content matched its bundle; or it was sealed on this boot.
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
    /// The label of the slot and of its blob's policy, given the counter as it is once the new life
    /// began (or as it was read, where there is none). A slot without a blob has label 0.
    #[must_use]
    pub fn label(&self, counter: u64) -> u64 {
        match self.new_life {
            true => counter,
            false => self.label,
        }
    }

    /// Where the counter has to be in the end; `None`: as it is.
    #[must_use]
    pub fn raise_to(&self) -> Option<u64> {
        self.raise
    }
}

impl Slot {
    /// What ranks slots: the higher one's bundle is in force.
    fn rank(&self) -> (u64, u64) {
        (self.seq, self.write_number)
    }

    /// Whether its blob can open at this counter, as far as can be said without opening it.
    fn may_live(&self, counter: u64) -> bool {
        matches!(self.blob, Blob::Untried | Blob::Opened) && self.in_window(counter)
    }

    fn in_window(&self, counter: u64) -> bool {
        (counter..=counter.saturating_add(LABEL_STEP)).contains(&self.label)
    }
}

impl View {
    /// The slot in force: the highest (seq, write number).
    #[must_use]
    pub fn in_force(&self) -> Option<usize> {
        self.indices().max_by_key(|i| self.rank(*i))
    }

    /// Slots to be tried at boot, in this order, until one opens. Empty when nothing may live.
    #[must_use]
    pub fn candidates(&self) -> heapless::Vec<usize, SLOTS> {
        let mut out: heapless::Vec<_, SLOTS> = self.living().map(|(i, _)| i).collect();
        out.sort_unstable_by_key(|i| core::cmp::Reverse(self.rank(*i)));
        out
    }

    /// Once a blob opened (its slot is [`Blob::Opened`], its content matched its bundle and its root
    /// the fingerprint): the counter is raised to this, which ends what an interrupted accept left.
    #[must_use]
    pub fn finish(&self) -> Option<u64> {
        let (_, opened) = self.opened()?;
        (self.counter? < opened.label).then_some(opened.label)
    }

    /// After [`Self::finish`]: where the blob that opened is not the one in force, it is sealed anew
    /// under the bundle in force before anything is served.
    #[must_use]
    pub fn reseal(&self) -> Option<Plan> {
        let (opened, _) = self.opened()?;
        if self.in_force()? == opened { None } else { self.seal_again() }
    }

    /// Seals anew under the bundle in force: a root, or a pending one, came in.
    #[must_use]
    pub fn seal_again(&self) -> Option<Plan> {
        Some(self.seal(self.slots[self.in_force()?]?.seq))
    }

    /// Plans the acceptance of a verified bundle.
    ///
    /// # Errors
    /// [`Refused`]; nothing changes.
    pub fn accept(&self, seq: u64, digest: &Digest, keep: Keep) -> Result<Accept, Refused> {
        if let Some(in_force) = self.in_force().and_then(|i| self.slots[i]) {
            if seq < in_force.seq {
                return Err(Refused::SeqLower { in_force: in_force.seq });
            }
            if seq == in_force.seq {
                let same = in_force.digest == *digest;
                return if same { Ok(Accept::InForce) } else { Err(Refused::SeqFork) };
            }
        }
        // What is to be destroyed cannot die of a step; everything else has to stay within reach.
        if keep != Keep::Destroy
            && let Some((_, base)) = self.base()
            && seq.saturating_sub(base.seq) > LABEL_STEP
        {
            return Err(Refused::SeqStep { sealed: base.seq });
        }
        Ok(Accept::Write(match keep {
            Keep::Seal => self.seal(seq),
            Keep::Leave => self.without_blob(None),
            Keep::Destroy => self.without_blob(self.destroy()),
        }))
    }

    /// The counter value beyond every blob that may live, tried or not; `None`: there is none. For a
    /// boot whose bundle in force wants nothing kept here (an accept of it may have been cut short).
    #[must_use]
    pub fn destroy(&self) -> Option<u64> {
        let counter = self.counter?;
        let blobs = self.slots.iter().flatten().filter(|slot| slot.blob != Blob::None);
        let labels = blobs.filter(|slot| slot.in_window(counter)).map(|slot| slot.label);
        labels.max().map(|label| label.saturating_add(1))
    }

    /// A blob under the bundle `seq`: the life goes on from the blob that lives, or a new one begins.
    fn seal(&self, seq: u64) -> Plan {
        // A step is 64 at most: more would leave the new blob out of reach while the old one dies.
        // (Only sealing under the bundle in force can be asked for more, where blobs failed.)
        let label = self.base().map(|(_, base)| {
            base.label.saturating_add(seq.saturating_sub(base.seq).min(LABEL_STEP))
        });
        Plan {
            new_life: label.is_none(),
            slot: self.free(),
            write_number: self.next_write(),
            blob: true,
            label: label.unwrap_or(0),
            raise: label.filter(|label| self.counter.is_some_and(|counter| counter < *label)),
        }
    }

    fn without_blob(&self, raise: Option<u64>) -> Plan {
        Plan {
            new_life: false,
            slot: self.free(),
            write_number: self.next_write(),
            blob: false,
            label: 0,
            raise,
        }
    }

    /// The slot that must survive: what opened, else the highest label of those that may live.
    fn base(&self) -> Option<(usize, Slot)> {
        self.opened().or_else(|| self.living().max_by_key(|(_, slot)| (slot.label, slot.rank())))
    }

    fn opened(&self) -> Option<(usize, Slot)> {
        let opened = self.living().filter(|(_, slot)| slot.blob == Blob::Opened);
        opened.max_by_key(|(_, slot)| slot.rank())
    }

    /// The slot to write: neither in force nor the one that must survive; of the others an empty or
    /// torn one first, then one that cannot live, then the oldest.
    fn free(&self) -> usize {
        let kept = [self.in_force(), self.base().map(|(i, _)| i)];
        (0..SLOTS)
            .filter(|i| !kept.contains(&Some(*i)))
            .min_by_key(|i| (self.living().any(|(living, _)| living == *i), self.rank(*i)))
            .expect("three slots, of which two are kept")
    }

    fn next_write(&self) -> u64 {
        let highest = self.slots.iter().flatten().map(|slot| slot.write_number).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    fn living(&self) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.indices().filter_map(|i| Some((i, self.slots[i]?)));
        slots.filter(|(_, slot)| self.counter.is_some_and(|counter| slot.may_live(counter)))
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(|i| self.slots[*i].is_some())
    }

    fn rank(&self, index: usize) -> Option<(u64, u64)> {
        self.slots[index].map(|slot| slot.rank())
    }
}

#[cfg(test)]
mod tests;
