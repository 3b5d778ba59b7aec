//! `state`, the raw partition, as bytes: header, crash sector, slots. Here and not in the firmware,
//! because whoever flashes a disk may write a header and a first bundle into it.
//!
//! In units of 4 KiB: header, crash sector, three slots of 1 MiB, two tail places of 64 KiB, ring. No
//! slot fills its MiB; the last unit of the third one's is the trial sector.

pub mod crash;
pub mod header;
pub mod reach;
mod sector;
pub mod slot;
pub mod trial;

pub use crash::{Crash, CrashSector};
pub use header::{Geometry, HeaderError};
pub use reach::Reach;
pub use slot::{Absent, Slot};
pub use trial::{Stage, TrialSector};

/// Bytes of a unit: what disks write atomically at best, and what O_DIRECT wants.
pub const UNIT: usize = 4096;

/// How many slots there are: live, newest, free.
pub const SLOTS: usize = 3;

/// Whether a unit is blank.
#[must_use]
pub fn blank(unit: &[u8]) -> bool {
    unit.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
