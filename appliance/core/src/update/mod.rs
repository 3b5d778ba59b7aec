//! How a box changes its image: what is written where, in which order, and what a boot makes of what
//! it finds (design, section 11). Plans, no effects. Whoever carries a plan out does its steps in
//! order, each durable before the next; a power cut between any two, or within one, is planned for.
//!
//! The rule behind all of it: the ESP that runs is never written, and it stands first in the boot order
//! before the other one is touched. The other one is no file system until all of it is there.

use casemate_formats::{
    digest::Digest,
    efi::boot_entry::Esp,
    state::{Stage, TrialSector},
};

/// What the firmware would start, and what it did start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The ESP that the running image was started from.
    pub running: Esp,
    /// Numbers of the boot entries of ESP A and B.
    pub entries: [u16; 2],
    /// The boot order, with the entries of others.
    pub order: Vec<u16>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set the boot order.
    Order(Vec<u16>),
    /// Make this ESP no file system: its first unit is zeros.
    Blank(Esp),
    /// Write it whole, its first unit last, and read it back.
    Fill(Esp),
    /// Write the trial sector.
    Note(TrialSector),
    /// Have the firmware start this entry once.
    StartOnce(u16),
    /// Start the machine again.
    Restart,
}

/// What a boot is, by the trial sector and the running image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Nothing is under way.
    Settled,
    /// The running image is on trial.
    Trial,
    /// That image was tried, and did not stay.
    WentBack(Digest),
    /// A copy of the running ESP over the other one was cut short.
    Copy,
}

impl Boot {
    /// What this boot is, and what the sector must say before anything else is done: an image is on
    /// trial once, whatever becomes of it.
    #[must_use]
    pub fn of(sector: TrialSector, running: Digest) -> (Self, Option<TrialSector>) {
        let TrialSector { stage, image } = sector;
        let tried = TrialSector::new(Stage::Tried, image);
        match stage {
            Stage::Idle => (Self::Settled, None),
            Stage::Armed if image == running => (Self::Trial, Some(tried)),
            Stage::Armed => (Self::WentBack(image), Some(tried)),
            // Committed, with a cut before the sector said so; or the firmware's own choice.
            Stage::Tried if image == running => (Self::Settled, None),
            Stage::Tried => (Self::WentBack(image), None),
            Stage::Copying => (Self::Copy, None),
        }
    }
}

impl Standing {
    /// The ESP that the firmware starts first of the two, where the order names one.
    #[must_use]
    pub fn first(&self) -> Option<Esp> {
        self.order.iter().find_map(|number| self.esp_of(*number))
    }

    /// A new image into the other ESP, tried once.
    #[must_use]
    pub fn take(&self) -> Vec<Step> {
        let other = self.running.other();
        let mut steps = self.running_first();
        // What an earlier trial left would be read as this one's.
        steps.extend([Step::Note(TrialSector::IDLE), Step::Blank(other), Step::Fill(other)]);
        steps
    }

    /// Once the other ESP holds `image`, whole: try it.
    #[must_use]
    pub fn arm(&self, image: Digest) -> Vec<Step> {
        vec![
            Step::Note(TrialSector::new(Stage::Armed, image)),
            Step::StartOnce(self.entry(self.running.other())),
            Step::Restart,
        ]
    }

    /// The running image stays.
    #[must_use]
    pub fn commit(&self) -> Vec<Step> {
        let mut steps = self.running_first();
        steps.push(Step::Note(TrialSector::IDLE));
        steps
    }

    /// The running ESP over the other one, which holds what the bundle no longer lists.
    #[must_use]
    pub fn copy(&self) -> Vec<Step> {
        let other = self.running.other();
        let mut steps = self.running_first();
        steps.extend([
            Step::Note(TrialSector::new(Stage::Copying, Digest::ZERO)),
            Step::Blank(other),
            Step::Fill(other),
            Step::Note(TrialSector::IDLE),
        ]);
        steps
    }

    /// The running image is not listed and the other ESP holds `other`, which is: it is tried, once.
    #[must_use]
    pub fn rescue(&self, sector: TrialSector, other: Digest) -> Option<Vec<Step>> {
        let tried = sector == TrialSector::new(Stage::Tried, other);
        (!tried).then(|| self.arm(other))
    }

    /// What is left to note on a settled boot: a commit whose last step was cut.
    #[must_use]
    pub fn settle(&self, sector: TrialSector, running: Digest) -> Option<Step> {
        let committed = sector == TrialSector::new(Stage::Tried, running);
        (committed && self.first() == Some(self.running)).then_some(Step::Note(TrialSector::IDLE))
    }

    /// The running ESP's entry takes the place of the first of ours; entries of others stay where
    /// somebody put them.
    fn running_first(&self) -> Vec<Step> {
        if self.first() == Some(self.running) {
            return Vec::new();
        }
        let own = self.entry(self.running);
        let mut order: Vec<u16> = self.order.iter().copied().filter(|n| *n != own).collect();
        let place = order.iter().position(|number| self.esp_of(*number).is_some()).unwrap_or(0);
        order.insert(place, own);
        vec![Step::Order(order)]
    }

    fn entry(&self, esp: Esp) -> u16 {
        match esp {
            Esp::A => self.entries[0],
            Esp::B => self.entries[1],
        }
    }

    fn esp_of(&self, number: u16) -> Option<Esp> {
        [Esp::A, Esp::B].into_iter().find(|esp| self.entry(*esp) == number)
    }
}

#[cfg(test)]
mod tests;
