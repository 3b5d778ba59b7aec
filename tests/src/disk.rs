//! A disk in memory under a [`Power`] switch: the proxy behind `Blocks`. It can also fail, be slow, and
//! lie about flush.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_appliance::state::{Blocks, UNIT};
use casemate_formats::audit::block::Header;

pub use crate::power::Cut;
use crate::power::{Dice, Event, Power};

/// A disk in memory. Clones share it.
#[derive(Clone)]
pub struct TestDisk(Arc<Mutex<Inner>>);

struct Inner {
    units: u64,
    content: BTreeMap<u64, Vec<u8>>,
    power: Power,
    writes: u64,
    /// Writes that have not returned; one of a disk that lies stays although it has.
    under_way: BTreeMap<u64, (u64, Vec<u8>)>,
    faults: Faults,
    /// Headers of all blocks that anyone tried to write.
    blocks: Arc<Mutex<Vec<Header>>>,
}

/// How a disk misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Units whose reads fail.
    pub reads: Range<u64>,
    /// Units whose writes fail, with nothing written.
    pub writes: Range<u64>,
    /// How long a write takes.
    pub delay: Duration,
    /// So many writes return before they are on the medium, whatever flush was asked for.
    pub unflushed: usize,
}

/// Every unit of a disk.
pub const EVERYWHERE: Range<u64> = 0..u64::MAX;

impl TestDisk {
    /// With these units on it, and zeros elsewhere.
    #[must_use]
    pub fn of(units: u64, content: BTreeMap<u64, Vec<u8>>) -> Self {
        Self::with(units, content, Arc::default(), Power::default())
    }

    /// A blank disk.
    #[must_use]
    pub fn blank(units: u64) -> Self {
        Self::with(units, BTreeMap::new(), Arc::default(), Power::default())
    }

    fn with(
        units: u64,
        content: BTreeMap<u64, Vec<u8>>,
        blocks: Arc<Mutex<Vec<Header>>>,
        power: Power,
    ) -> Self {
        let (writes, under_way, faults) = (0, BTreeMap::new(), Faults::default());
        Self(Arc::new(Mutex::new(Inner {
            units,
            content,
            power,
            writes,
            under_way,
            faults,
            blocks,
        })))
    }

    /// Its switch.
    #[must_use]
    pub fn power(&self) -> Power {
        self.inner().power.clone()
    }

    /// Cuts the power during write number `write` (the first one is 0) of a disk that has its switch
    /// for itself.
    pub fn cut_at(&self, write: u64, cut: Cut) {
        self.power().cut_at(usize::try_from(write).unwrap_or(usize::MAX), cut);
    }

    /// Makes every read and write fail from now on, or work again.
    pub fn fail(&self, failing: bool) {
        let range = if failing { EVERYWHERE } else { 0..0 };
        self.misbehave(Faults { reads: range.clone(), writes: range, ..Faults::default() });
    }

    /// Misbehaves so from now on.
    pub fn misbehave(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner().power.is_off()
    }

    /// A copy of what stands on it, with power: the same disk after the cut (what was under way is
    /// torn), or an image kept aside.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut inner = self.inner();
        inner.settle();
        let blocks = Arc::clone(&inner.blocks);
        Self::with(inner.units, inner.content.clone(), blocks, Power::default())
    }

    /// Headers of all blocks that anyone tried to write on this disk and its copies.
    #[must_use]
    pub fn block_writes(&self) -> Vec<Header> {
        self.inner().blocks.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        inner.check(unit, into.len(), &inner.faults.reads)?;
        for (unit, into) in (unit..).zip(into.chunks_mut(UNIT)) {
            match inner.content.get(&unit) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.fill(0),
            }
        }
        // The device's cache is read through.
        let end = unit + (into.len() / UNIT) as u64;
        for (at, bytes) in inner.under_way.values().take(inner.cached()) {
            for (other, bytes) in (*at..).zip(bytes.chunks(UNIT)) {
                if (unit..end).contains(&other) {
                    let offset = usize::try_from(other - unit).unwrap_or(0) * UNIT;
                    into[offset..offset + UNIT].copy_from_slice(bytes);
                }
            }
        }
        Ok(())
    }

    fn write(&self, unit: u64, bytes: &[u8]) -> io::Result<()> {
        let (number, delay) = {
            let mut inner = self.inner();
            inner.check(unit, bytes.len(), &inner.faults.writes)?;
            let cut = inner.power.begin(Event::Write(bytes.len())).map_err(|_| gone())?;
            if let Ok(header) = Header::decode(bytes) {
                inner.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(header);
            }
            let number = inner.writes;
            inner.writes += 1;
            if let Some(cut) = cut {
                inner.tear(unit, bytes, cut);
                return Err(gone());
            }
            inner.under_way.insert(number, (unit, bytes.to_vec()));
            (number, inner.faults.delay)
        };
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut inner = self.inner();
        if inner.power.is_off() {
            inner.settle();
            return Err(gone());
        }
        if inner.faults.unflushed == 0 {
            inner.finish(number);
        }
        while inner.faults.unflushed > 0 && inner.under_way.len() > inner.faults.unflushed {
            let Some(oldest) = inner.under_way.keys().next().copied() else { break };
            inner.finish(oldest);
        }
        Ok(())
    }
}

impl Inner {
    fn check(&self, unit: u64, length: usize, failing: &Range<u64>) -> io::Result<()> {
        let end = unit + (length / UNIT) as u64;
        if self.power.is_off() {
            Err(gone())
        } else if unit < failing.end && failing.start < end {
            Err(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32))
        } else if !length.is_multiple_of(UNIT) || end > self.units {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole units of the disk"))
        } else {
            Ok(())
        }
    }

    /// Writes under way that readers see already.
    fn cached(&self) -> usize {
        if self.faults.unflushed > 0 { self.under_way.len() } else { 0 }
    }

    fn finish(&mut self, number: u64) {
        if let Some((unit, bytes)) = self.under_way.remove(&number) {
            self.tear(unit, &bytes, Cut::Whole);
        }
    }

    /// Once the power is gone: what was under way is torn, each write for itself.
    fn settle(&mut self) {
        if !self.power.is_off() {
            return;
        }
        for (number, (unit, bytes)) in std::mem::take(&mut self.under_way) {
            let cut = Dice::new(number ^ unit << 20).cut();
            self.tear(unit, &bytes, cut);
        }
    }

    fn tear(&mut self, unit: u64, bytes: &[u8], cut: Cut) {
        for (at, piece) in cut.pieces(bytes) {
            let content =
                self.content.entry(unit + (at / UNIT) as u64).or_insert_with(|| vec![0; UNIT]);
            content[at % UNIT..][..piece.len()].copy_from_slice(piece);
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}
