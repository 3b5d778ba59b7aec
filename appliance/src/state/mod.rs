//! `state`, the raw partition: header, crash sector, three slots, two tail places, ring. The only
//! room that writes to a disk.

pub mod crash;
pub mod disk;
pub mod ring;

use std::{io, sync::Arc};

use casemate_formats::{
    audit::block,
    state::{HeaderError, reach, slot},
};

pub use casemate_formats::state::{
    Absent, Crash, CrashSector, Geometry, SLOTS, Slot, Stage, TrialSector, UNIT, blank, header,
};
pub use disk::Disk;
pub use ring::Ring;

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

/// An opened `state`.
pub struct State {
    blocks: Arc<dyn Blocks>,
    geometry: Geometry,
}

/// Why `state` cannot be used. The console shows the name; nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("state-io: {0}")]
    Io(#[from] io::Error),
    /// Too small, or of a later format.
    #[error(transparent)]
    Layout(#[from] HeaderError),
    /// The header is damaged, but a slot, the crash sector or a block of ours is there.
    #[error("state-header: damaged")]
    Header,
    /// The partition is smaller than when it was formatted.
    #[error("state-truncated: {0} units of 4 KiB")]
    Truncated(u64),
    /// What was written does not read back.
    #[error("state-readback")]
    ReadBack,
    /// The slot's parts do not fit, or its write number is the last one: somebody else wrote that.
    #[error("state-slot: too large, or out of write numbers (flash this disk anew)")]
    SlotTooLarge,
}

impl State {
    /// Opens a partition. Nothing that may be Casemate's is ever formatted over: a disk is formatted
    /// only when its header is not ours **and** no slot, no crash sector and no block of ours is
    /// found on it. A damaged header over any of those is an error for a person to look at.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(blocks: Arc<dyn Blocks>) -> Result<Self, StateError> {
        let mut unit = vec![0; UNIT];
        blocks.read(header::HEADER, &mut unit)?;
        if let Some(geometry) = Geometry::decode(&unit)? {
            return if blocks.units() < geometry.units {
                Err(StateError::Truncated(blocks.units()))
            } else {
                Ok(Self { blocks, geometry })
            };
        }
        let state = Self { geometry: Geometry::of(blocks.units())?, blocks };
        if state.has_traces()? {
            return Err(StateError::Header);
        }
        state.format()?;
        Ok(state)
    }

    /// The three slots as they stand on the disk now; what does not decode says why.
    ///
    /// # Errors
    /// The device's.
    pub fn slots(&self) -> Result<[Result<Slot, Absent>; SLOTS], StateError> {
        Ok([self.read_slot(0)?, self.read_slot(1)?, self.read_slot(2)?])
    }

    /// Writes a slot durably and reads it back.
    ///
    /// # Errors
    /// The slot is lost then (any of the others stands).
    pub fn write_slot(&self, index: usize, slot: &Slot) -> Result<(), StateError> {
        let bytes = slot.encode().ok_or(StateError::SlotTooLarge)?;
        self.blocks.write(slot_unit(index)?, &bytes)?;
        match self.read_slot(index)? {
            Ok(read) if read == *slot => Ok(()),
            _ => Err(StateError::ReadBack),
        }
    }

    /// The crash sector; `None`: damaged, which counts as no crashes and is worth a word on the
    /// console.
    ///
    /// # Errors
    /// The device's.
    pub fn crash(&self) -> Result<Option<CrashSector>, StateError> {
        let mut unit = vec![0; UNIT];
        self.blocks.read(header::CRASH, &mut unit)?;
        Ok(CrashSector::decode(&unit))
    }

    /// Writes the crash sector.
    ///
    /// # Errors
    /// The device's.
    pub fn write_crash(&self, crash: &CrashSector) -> Result<(), StateError> {
        Ok(self.blocks.write(header::CRASH, &crash.encode())?)
    }

    /// The trial sector; `None`: blank, damaged, or the device does not give it. Nothing is on trial then.
    #[must_use]
    pub fn trial(&self) -> Option<TrialSector> {
        let mut unit = vec![0; UNIT];
        self.blocks.read(header::TRIAL, &mut unit).ok()?;
        TrialSector::decode(&unit)
    }

    /// Writes the trial sector durably.
    ///
    /// # Errors
    /// The device's.
    pub fn write_trial(&self, trial: &TrialSector) -> Result<(), StateError> {
        Ok(self.blocks.write(header::TRIAL, &trial.encode())?)
    }

    /// The unit of what was proven last, as it stands.
    ///
    /// # Errors
    /// The device's.
    pub fn reach(&self) -> Result<Vec<u8>, StateError> {
        let mut unit = vec![0; UNIT];
        self.blocks.read(reach::REACH, &mut unit)?;
        Ok(unit)
    }

    /// Writes that unit durably.
    ///
    /// # Errors
    /// The device's.
    pub fn write_reach(&self, unit: &[u8]) -> Result<(), StateError> {
        Ok(self.blocks.write(reach::REACH, unit)?)
    }

    /// What the panic hook keeps to count a panic.
    #[must_use]
    pub fn crash_marker(&self, now: CrashSector) -> crash::Marker {
        crash::Marker::new(Arc::clone(&self.blocks), now)
    }

    /// The audit log's part.
    #[must_use]
    pub fn ring(&self) -> Ring {
        let Geometry { tail, ring, ring_units, .. } = self.geometry;
        Ring::new(Arc::clone(&self.blocks), tail, ring, ring_units)
    }

    fn read_slot(&self, index: usize) -> Result<Result<Slot, Absent>, StateError> {
        let mut bytes = vec![0; UNIT];
        self.blocks.read(slot_unit(index)?, &mut bytes)?;
        if blank(&bytes) {
            return Ok(Err(Absent::Empty));
        }
        bytes.resize(slot::claimed_bytes(&bytes), 0);
        self.blocks.read(slot_unit(index)?, &mut bytes)?;
        Ok(Slot::decode(&bytes))
    }

    /// Whether anything of ours is on the disk, whatever became of its header. A slot counts with its
    /// magic alone.
    fn has_traces(&self) -> Result<bool, StateError> {
        let slots =
            self.slots()?.iter().any(|slot| !matches!(slot, Err(Absent::Empty | Absent::Foreign)));
        let mut unit = vec![0; UNIT];
        let mut tails = false;
        for place in 0..2 {
            self.ring().read_tail(place, &mut unit)?;
            tails |= unit.starts_with(block::MAGIC);
        }
        Ok(slots || tails || self.crash()?.is_some())
    }

    /// Blanks what could be taken for ours, then writes the header, then the crash sector: after a
    /// power cut in between, either the disk is formatted again or it is whole (a missing crash sector
    /// counts as no crashes).
    fn format(&self) -> Result<(), StateError> {
        let zeros = vec![0; UNIT];
        for index in 0..SLOTS {
            self.blocks.write(slot_unit(index)?, &zeros)?;
        }
        for place in 0..2 {
            self.ring().write_tail(place, &zeros)?;
        }
        self.ring().write(0, &zeros)?;
        self.blocks.write(header::HEADER, &self.geometry.encode())?;
        self.write_crash(&CrashSector::default())
    }
}

fn slot_unit(index: usize) -> Result<u64, StateError> {
    if index < SLOTS {
        Ok(header::FIRST_SLOT + index as u64 * slot::SLOT_UNITS)
    } else {
        Err(StateError::Io(io::Error::new(io::ErrorKind::InvalidInput, "no such slot")))
    }
}
