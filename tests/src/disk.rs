//! A disk in memory that loses power or fails where a test says: the proxy behind `Blocks`.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_appliance::state::{Blocks, UNIT};

/// Bytes that a disk writes in one piece whatever happens.
const SECTOR: usize = 512;

/// What a write leaves behind when the power goes during it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Lost,
    /// The first sector.
    First,
    /// Every sector but the first.
    ButFirst,
    /// Every other sector, by the bits of a seed.
    Sectors(u64),
    /// All of it; only the answer is missing.
    Whole,
}

impl Cut {
    /// One of each.
    pub const ALL: [Self; 6] = [
        Self::Lost,
        Self::First,
        Self::ButFirst,
        Self::Sectors(0x5555_5555_5555_5555),
        Self::Sectors(0x9e37_79b9_7f4a_7c15),
        Self::Whole,
    ];

    fn keeps(self, sector: usize) -> bool {
        match self {
            Self::Lost => false,
            Self::First => sector == 0,
            Self::ButFirst => sector > 0,
            Self::Sectors(seed) => seed.rotate_right(u32::try_from(sector).unwrap_or(0)) & 1 == 1,
            Self::Whole => true,
        }
    }
}

/// A disk in memory. Clones share it.
#[derive(Clone)]
pub struct TestDisk(Arc<Mutex<Inner>>);

struct Inner {
    units: u64,
    content: BTreeMap<u64, Vec<u8>>,
    writes: u64,
    cut: Option<(u64, Cut)>,
    off: bool,
    failing: bool,
}

impl TestDisk {
    /// A blank disk.
    #[must_use]
    pub fn blank(units: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            units,
            content: BTreeMap::new(),
            writes: 0,
            cut: None,
            off: false,
            failing: false,
        })))
    }

    /// Cuts the power during write number `write` (the first one is 0).
    pub fn cut_at(&self, write: u64, cut: Cut) {
        self.inner().cut = Some((write, cut));
    }

    /// Makes every read and write fail from now on, or work again.
    pub fn fail(&self, failing: bool) {
        self.inner().failing = failing;
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// Whether the cut has come.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner().off
    }

    /// A copy of what stands on it, with power: the same disk after the cut, or an image kept aside.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.inner();
        Self(Arc::new(Mutex::new(Inner {
            units: inner.units,
            content: inner.content.clone(),
            writes: 0,
            cut: None,
            off: false,
            failing: false,
        })))
    }

    /// Flips one bit: `bit` counts from the first byte of `unit`.
    pub fn flip(&self, unit: u64, bit: usize) {
        let mut inner = self.inner();
        let content = inner.content.entry(unit).or_insert_with(|| vec![0; UNIT]);
        content[bit / 8] ^= 1 << (bit % 8);
    }

    /// The bytes of a unit.
    #[must_use]
    pub fn unit(&self, unit: u64) -> Vec<u8> {
        self.inner().content.get(&unit).cloned().unwrap_or_else(|| vec![0; UNIT])
    }

    /// Units that were ever written.
    #[must_use]
    pub fn written(&self) -> Vec<u64> {
        self.inner().content.keys().copied().collect()
    }

    /// Gets the content of another disk: somebody changed it while it was away.
    pub fn become_copy_of(&self, other: &Self) {
        let content = other.inner().content.clone();
        self.inner().content = content;
    }

    /// As the rooms want it.
    #[must_use]
    pub fn blocks(&self) -> Arc<dyn Blocks> {
        Arc::new(self.clone())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks for TestDisk {
    fn units(&self) -> u64 {
        self.inner().units
    }

    fn read(&self, unit: u64, into: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        inner.check(unit, into.len())?;
        for (unit, into) in (unit..).zip(into.chunks_mut(UNIT)) {
            match inner.content.get(&unit) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, unit: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(unit, bytes.len())?;
        let write = inner.writes;
        inner.writes += 1;
        let cut = inner.cut.filter(|(at, _)| *at == write).map(|(_, cut)| cut);
        for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
            if cut.is_none_or(|cut| cut.keeps(sector)) {
                let at = sector * SECTOR;
                let content =
                    inner.content.entry(unit + (at / UNIT) as u64).or_insert_with(|| vec![0; UNIT]);
                content[at % UNIT..][..SECTOR].copy_from_slice(bytes);
            }
        }
        if cut.is_some() {
            inner.off = true;
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

impl Inner {
    fn check(&self, unit: u64, length: usize) -> io::Result<()> {
        if self.off || self.failing {
            Err(io::Error::other("the disk does not answer"))
        } else if !length.is_multiple_of(UNIT) || unit + (length / UNIT) as u64 > self.units {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole units of the disk"))
        } else {
            Ok(())
        }
    }
}
