//! The trial sector: what a box that changes its image must remember over a reboot. Blank or damaged, it
//! says that nothing is under way, which is the safe answer: the boot order is then as it was.
//!
//! Magic (16), format u16, stage u8, image (32), checksum (tagged SHA-256 of all before), zeros.

use super::{UNIT, blank};
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

const MAGIC: &[u8; 16] = b"casemate.trial\0\0";
const FORMAT: u16 = 1;
const FIELDS: usize = 16 + 2 + 1 + 32;

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
        let mut out = Vec::with_capacity(UNIT);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.push(match self.stage {
            Stage::Idle => 0,
            Stage::Armed => 1,
            Stage::Tried => 2,
            Stage::Copying => 3,
        });
        out.extend_from_slice(&self.image.0);
        let checksum = tagged("trial-sector", &[&out]);
        out.extend_from_slice(&checksum.0);
        out.resize(UNIT, 0);
        out
    }

    /// Reads the unit; `None`: damaged, torn or never written.
    #[must_use]
    pub fn decode(unit: &[u8]) -> Option<Self> {
        let (fields, rest) = unit.split_at_checked(FIELDS)?;
        let (checksum, padding) = rest.split_at_checked(32)?;
        let whole = fields.starts_with(MAGIC)
            && fields[16..18] == FORMAT.to_be_bytes()
            && tagged("trial-sector", &[fields]).0 == checksum
            && blank(padding);
        let stage = match fields[18] {
            0 => Stage::Idle,
            1 => Stage::Armed,
            2 => Stage::Tried,
            3 => Stage::Copying,
            _ => return None,
        };
        let image = Digest(*fields[19..].first_chunk()?);
        whole.then_some(Self { stage, image })
    }
}
