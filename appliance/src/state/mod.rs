//! `state`, the raw partition: header, crash sector, three slots, two tail places, ring. The only
//! room that writes to a disk.

pub mod crash;
pub mod disk;
pub mod ring;
pub mod slot;

use std::{io, sync::Arc};

pub use crash::CrashSector;
pub use ring::Ring;
pub use slot::{Absent, Slot};

/// A disk in units of [`UNIT`]: every write is durable when it returns (O_DIRECT | O_DSYNC).
/// The firmware's one implementation is [`disk`]'s; tests put a cutting proxy in its place.
pub trait Blocks: Send + Sync + 'static {
    /// Units the partition has.
    fn units(&self) -> u64;
    /// Reads whole units.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, unit: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes whole units durably.
    ///
    /// # Errors
    /// The device's; what stands there then is unknown.
    fn write(&self, unit: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Bytes of a unit: what disks write atomically at best, and what O_DIRECT wants.
pub const UNIT: usize = 4096;

/// How many slots there are: live, newest, free.
pub const SLOTS: usize = 3;

/// An opened `state`.
pub struct State {
    blocks: Arc<dyn Blocks>,
}

/// Why `state` cannot be used. The console shows the name; nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("state-io: {0}")]
    Io(#[from] io::Error),
    /// The partition is too small for slots and the smallest ring.
    #[error("state-too-small: {0} units of 4 KiB")]
    TooSmall(u64),
    /// The header is damaged, but a slot, the crash sector or a block of ours is there.
    #[error("state-header: damaged")]
    Header,
    /// A header of a later format.
    #[error("state-version: {0}")]
    Version(u16),
    /// What was written does not read back.
    #[error("state-readback")]
    ReadBack,
    /// The slot's parts do not fit.
    #[error("state-slot: too large")]
    SlotTooLarge,
}

impl State {
    /// Opens a partition; formats it when nothing on it is ours.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(_blocks: Arc<dyn Blocks>) -> Result<Self, StateError> {
        todo!()
    }

    /// The three slots as they stand on the disk now; what does not decode says why.
    ///
    /// # Errors
    /// The device's.
    pub fn slots(&self) -> Result<[Result<Slot, Absent>; SLOTS], StateError> {
        todo!()
    }

    /// Writes a slot durably and reads it back.
    ///
    /// # Errors
    /// The slot is lost then (any of the others stands).
    pub fn write_slot(&self, _index: usize, _slot: &Slot) -> Result<(), StateError> {
        todo!()
    }

    /// The crash sector; damaged or never written: zero crashes.
    ///
    /// # Errors
    /// The device's.
    pub fn crash(&self) -> Result<CrashSector, StateError> {
        todo!()
    }

    /// Writes the crash sector.
    ///
    /// # Errors
    /// The device's.
    pub fn write_crash(&self, _crash: &CrashSector) -> Result<(), StateError> {
        todo!()
    }

    /// The audit log's part.
    #[must_use]
    pub fn ring(&self) -> Ring {
        todo!()
    }

    /// Raw access, for what shares the disk.
    #[must_use]
    pub fn blocks(&self) -> &Arc<dyn Blocks> {
        &self.blocks
    }
}
