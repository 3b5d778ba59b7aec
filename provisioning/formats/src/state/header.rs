//! The header of `state`: what this partition is, and where its parts lie.
//!
//! Unit 0: magic (16), format u16, units u64, first tail unit u64, units of a tail place u32, first
//! ring unit u64, ring units u64, checksum (tagged SHA-256 of all before), zeros. Big-endian.

use super::{SLOTS, UNIT, blank, sector::Kind, slot::SLOT_UNITS};
use crate::{audit::block::MAX_BYTES, digest::tagged};

/// Where the parts of a `state` lie, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Units that the partition had when it was formatted.
    pub units: u64,
    /// First of the two tail places.
    pub tail: u64,
    /// First unit of the ring.
    pub ring: u64,
    /// Units of the ring.
    pub ring_units: u64,
}

/// Unit of the header.
pub const HEADER: u64 = 0;
/// Unit of the crash sector.
pub const CRASH: u64 = 1;
/// First unit of the first slot.
pub const FIRST_SLOT: u64 = 2;
/// Unit of the trial sector: the last one of the third slot's MiB, of which a slot takes less than
/// 800 KiB. So disks that were laid out before there were trials have it too, blank.
pub const TRIAL: u64 = FIRST_SLOT + SLOTS as u64 * SLOT_UNITS - 1;
/// Units of a tail place: the largest block, 64 KiB.
pub const TAIL_UNITS: u64 = (MAX_BYTES / UNIT) as u64;
/// The smallest ring, 4 MiB: 64 of the largest blocks.
pub const RING_UNITS_MIN: u64 = 1024;
/// The largest ring that is used, 4 GiB: bounds the index in memory and the walk at boot.
pub const RING_UNITS_MAX: u64 = 1 << 20;

const KIND: Kind = Kind {
    magic: b"casemate.state\0\0",
    format: 1,
    checksum: |before| tagged("state-header", &[before]),
};
const FIELDS: usize = 16 + 2 + 8 + 8 + 4 + 8 + 8;

/// Why a partition cannot be laid out, or a header not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No room for slots and the smallest ring.
    #[error("state-too-small: {0} units of 4 KiB")]
    TooSmall(u64),
    /// A whole header of a later format.
    #[error("state-version: {0}")]
    Version(u16),
}

impl Geometry {
    /// The geometry of format 1 on a partition of `units`.
    ///
    /// # Errors
    /// No room for slots and the smallest ring.
    pub fn of(units: u64) -> Result<Self, HeaderError> {
        let tail = FIRST_SLOT + SLOTS as u64 * SLOT_UNITS;
        let ring = tail + 2 * TAIL_UNITS;
        match units.checked_sub(ring) {
            Some(rest) if rest >= RING_UNITS_MIN => {
                Ok(Self { units, tail, ring, ring_units: rest.min(RING_UNITS_MAX) })
            }
            _ => Err(HeaderError::TooSmall(units)),
        }
    }

    /// The header's unit.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        KIND.encode(&[
            &self.units.to_be_bytes(),
            &self.tail.to_be_bytes(),
            &u32::try_from(TAIL_UNITS).unwrap_or(u32::MAX).to_be_bytes(),
            &self.ring.to_be_bytes(),
            &self.ring_units.to_be_bytes(),
        ])
    }

    /// Reads a header's unit: `None` where it is not one of ours or damaged (the caller looks for
    /// other traces before it formats).
    ///
    /// # Errors
    /// [`HeaderError::Version`]: a whole header of a later format.
    pub fn decode(unit: &[u8]) -> Result<Option<Self>, HeaderError> {
        let Some((fields, rest)) = unit.split_at_checked(FIELDS) else { return Ok(None) };
        let Some((checksum, padding)) = rest.split_at_checked(32) else { return Ok(None) };
        if !fields.starts_with(KIND.magic) || (KIND.checksum)(fields).0 != checksum {
            return Ok(None);
        }
        let format = u16::from_be_bytes([fields[16], fields[17]]);
        if format != KIND.format {
            return Err(HeaderError::Version(format));
        }
        let mut units = [0; 8];
        units.copy_from_slice(&fields[18..26]);
        let geometry = Self::of(u64::from_be_bytes(units))?;
        Ok((geometry.encode() == unit && blank(padding)).then_some(geometry))
    }
}
