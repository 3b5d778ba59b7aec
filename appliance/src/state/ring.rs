//! Where the audit log's blocks lie: two tail places for the open block, and the ring of closed ones.
//!
//! A place in the ring is named by its position: units written since the ring was formatted, so a
//! position never comes back, and `position % units` is where it lies. A block never wraps: where it
//! would, it lies at the start, and its position counts the units that were skipped.

use std::{io, sync::Arc};

use casemate_formats::{audit::block::MAX_BYTES, state::header::TAIL_UNITS};

use super::{Blocks, UNIT};

/// The log's part of the partition.
#[derive(Clone)]
pub struct Ring {
    blocks: Arc<dyn Blocks>,
    tail: u64,
    first: u64,
    units: u64,
}

impl Ring {
    pub(super) fn new(blocks: Arc<dyn Blocks>, tail: u64, first: u64, units: u64) -> Self {
        Self { blocks, tail, first, units }
    }

    /// Units of the ring.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The first position at or after `position` where `length` units lie in one piece.
    #[must_use]
    pub fn fit(&self, position: u64, length: u64) -> u64 {
        let at = position % self.units;
        if at + length <= self.units { position } else { position + (self.units - at) }
    }

    /// Reads whole units at a position.
    ///
    /// # Errors
    /// The device's, or a range that wraps.
    pub fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.blocks.read(self.unit(position, into.len())?, into)
    }

    /// Writes whole units at a position, durably.
    ///
    /// # Errors
    /// The device's, or a range that wraps.
    pub fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.blocks.write(self.unit(position, bytes.len())?, bytes)
    }

    /// Reads the beginning of a tail place (0 or 1), whole units.
    ///
    /// # Errors
    /// The device's, or more than a tail place.
    pub fn read_tail(&self, place: usize, into: &mut [u8]) -> io::Result<()> {
        self.blocks.read(self.tail_unit(place, into.len())?, into)
    }

    /// Writes the beginning of a tail place (0 or 1), durably.
    ///
    /// # Errors
    /// The device's, or more than a tail place.
    pub fn write_tail(&self, place: usize, bytes: &[u8]) -> io::Result<()> {
        self.blocks.write(self.tail_unit(place, bytes.len())?, bytes)
    }

    fn unit(&self, position: u64, length: usize) -> io::Result<u64> {
        let at = position % self.units;
        if at + (length / UNIT) as u64 <= self.units { Ok(self.first + at) } else { Err(wraps()) }
    }

    fn tail_unit(&self, place: usize, length: usize) -> io::Result<u64> {
        if length <= MAX_BYTES && place < 2 {
            Ok(self.tail + place as u64 * TAIL_UNITS)
        } else {
            Err(wraps())
        }
    }
}

fn wraps() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not within its place")
}
