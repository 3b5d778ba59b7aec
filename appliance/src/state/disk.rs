//! The disk: a partition or file opened with O_DIRECT | O_DSYNC.

use std::{fs::File, io, path::Path};

use super::Blocks;

/// A partition or a file.
pub struct Disk {
    file: File,
    units: u64,
}

impl Disk {
    /// Opens a block device (by boot, which found it in sysfs by its GPT label).
    ///
    /// # Errors
    /// The kernel's.
    pub fn partition(_path: &Path) -> io::Result<Self> {
        todo!()
    }

    /// Opens a file as disk, made (sparse) with this many units when it is missing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn file(_path: &Path, _units: u64) -> io::Result<Self> {
        todo!()
    }
}

impl Blocks for Disk {
    fn units(&self) -> u64 {
        self.units
    }
    fn read(&self, _unit: u64, _into: &mut [u8]) -> io::Result<()> {
        let _ = &self.file;
        todo!()
    }
    fn write(&self, _unit: u64, _bytes: &[u8]) -> io::Result<()> {
        todo!()
    }
}
