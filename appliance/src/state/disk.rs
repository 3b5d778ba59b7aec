//! The disk: a partition or file opened with O_DIRECT | O_DSYNC, so that a write which returned is
//! durable and no page of it lingers in the kernel's cache.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::{Blocks, UNIT};
use nix::fcntl::OFlag;

/// A partition or a file.
pub struct Disk {
    file: File,
    units: u64,
}

impl Disk {
    /// Opens a block device (boot found it in sysfs by its GPT label).
    ///
    /// # Errors
    /// The kernel's.
    pub fn partition(path: &Path) -> io::Result<Self> {
        Self::open(path, OFlag::O_DIRECT | OFlag::O_DSYNC | OFlag::O_EXCL)
    }

    /// Opens a file as disk, made (sparse) with this many units when it is missing. File systems
    /// without O_DIRECT (tmpfs) get O_DSYNC alone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn file(path: &Path, units: u64) -> io::Result<Self> {
        if !path.exists() {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)?
                .set_len(units * UNIT as u64)?;
        }
        match Self::open(path, OFlag::O_DIRECT | OFlag::O_DSYNC) {
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINVAL as i32) => {
                Self::open(path, OFlag::O_DSYNC)
            }
            other => other,
        }
    }

    fn open(path: &Path, flags: OFlag) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((flags | OFlag::O_CLOEXEC).bits())
            .open(path)?;
        // The end of a block device is its size.
        let units = file.seek(SeekFrom::End(0))? / UNIT as u64;
        Ok(Self { file, units })
    }

    fn offset(&self, unit: u64, length: usize) -> io::Result<u64> {
        let whole = length.is_multiple_of(UNIT) && length > 0;
        let end = unit.checked_add((length / UNIT) as u64);
        if whole && end.is_some_and(|end| end <= self.units) {
            Ok(unit * UNIT as u64)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole units of the disk"))
        }
    }
}

impl Blocks for Disk {
    fn units(&self) -> u64 {
        self.units
    }

    fn read(&self, unit: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.offset(unit, into.len())?;
        let mut aligned = Aligned::new(into.len());
        self.file.read_exact_at(aligned.bytes(), offset)?;
        into.copy_from_slice(aligned.bytes());
        Ok(())
    }

    fn write(&self, unit: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = self.offset(unit, bytes.len())?;
        let mut aligned = Aligned::new(bytes.len());
        aligned.bytes().copy_from_slice(bytes);
        self.file.write_all_at(aligned.bytes(), offset)
    }
}

/// A buffer that starts on a unit's border, as O_DIRECT wants it: found inside a longer vector, so
/// that no unsafe code is needed. Nothing secret in clear ever passes through it.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let bytes = vec![0; length + UNIT];
        let start = bytes.as_ptr().align_offset(UNIT);
        Self { bytes, start, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}
