//! The trial sector: what a box that changes its image must remember over a reboot. Blank or damaged, it
//! says that nothing is under way, which is the safe answer: the boot order is then as it was.
//!
//! Magic (16), format u16, stage u8, image (32), checksum (tagged SHA-256 of all before), zeros.

use super::sector::Kind;
use crate::digest::{Digest, tagged};

/// How far the change of an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The other ESP holds the image, and the firmware is told to start it once.
    Armed,
    /// It was started, or did not start: it is not started a second time by itself.
    Tried,
    /// The running ESP is being copied over the other one.
    Copying,
}

/// What it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialSector {
    /// How far.
    pub stage: Stage,
    /// The image on trial: PCR 11 at `enter-casemate`; zeros where there is none.
    pub image: Digest,
}

const KIND: Kind = Kind {
    magic: b"casemate.trial\0\0",
    format: 1,
    checksum: |before| tagged("trial-sector", &[before]),
};

impl TrialSector {
    /// Nothing is under way.
    pub const IDLE: Self = Self { stage: Stage::Idle, image: Digest::ZERO };

    /// At this stage, with this image.
    #[must_use]
    pub const fn new(stage: Stage, image: Digest) -> Self {
        Self { stage, image }
    }

    /// The sector's unit.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stage = match self.stage {
            Stage::Idle => 0,
            Stage::Armed => 1,
            Stage::Tried => 2,
            Stage::Copying => 3,
        };
        KIND.encode(&[&[stage], &self.image.0])
    }

    /// Reads the unit; `None`: damaged, torn or never written.
    #[must_use]
    pub fn decode(unit: &[u8]) -> Option<Self> {
        let [stage, image @ ..] = KIND.decode::<33>(unit)?;
        let stage = match stage {
            0 => Stage::Idle,
            1 => Stage::Armed,
            2 => Stage::Tried,
            3 => Stage::Copying,
            _ => return None,
        };
        Some(Self { stage, image: Digest(*image) })
    }
}
