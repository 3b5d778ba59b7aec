//! One ESP as a whole: written so that half of it is no file system, read and hashed past every cache.
//! What stands in it is never parsed here.

use std::io;

use aws_lc_rs::digest::{Context, SHA256};
use casemate_formats::{digest::Digest, efi::partition::ESP_BYTES, state::UNIT};

use crate::state::Blocks;

/// Units of an ESP.
const UNITS: u64 = ESP_BYTES / UNIT as u64;
/// Units that are read or written at once: 256 KiB.
const PIECE_UNITS: usize = 64;
const PIECE: usize = PIECE_UNITS * UNIT;

/// Why an ESP does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillError {
    /// It ended early.
    Cut,
    /// It is not what was announced.
    Altered,
    /// The disk failed, or does not give back what was written.
    Unwritable,
}

/// Makes it no file system: the FAT's boot sector and its copy lie in the first unit.
///
/// # Errors
/// The disk's.
pub fn blank(esp: &dyn Blocks) -> io::Result<()> {
    esp.write(0, &vec![0; UNIT])
}

/// SHA-256 of the whole ESP as the disk has it.
///
/// # Errors
/// The disk's.
pub fn hash(esp: &dyn Blocks) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    pieces(esp, |piece| {
        context.update(piece);
        Ok(())
    })?;
    Ok(finished(context))
}

/// Reads it piece by piece.
///
/// # Errors
/// The disk's, or what `each` says.
pub fn pieces(esp: &dyn Blocks, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    for unit in (0..UNITS).step_by(PIECE_UNITS) {
        esp.read(unit, &mut piece)?;
        each(&piece)?;
    }
    Ok(())
}

/// An ESP that is being filled. Its first unit is kept back until the rest is there and is what was
/// announced: until then it stays as blank as [`blank`] made it.
pub struct Filling<'a> {
    esp: &'a dyn Blocks,
    first: Vec<u8>,
    piece: Vec<u8>,
    /// Next unit to be written.
    unit: u64,
    hash: Context,
    taken: u64,
}

impl<'a> Filling<'a> {
    /// Nothing of it yet.
    #[must_use]
    pub fn new(esp: &'a dyn Blocks) -> Self {
        Self {
            esp,
            first: Vec::with_capacity(UNIT),
            piece: Vec::with_capacity(PIECE),
            unit: 1,
            hash: Context::new(&SHA256),
            taken: 0,
        }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// The disk's, or more than an ESP.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.taken += bytes.len() as u64;
        if self.taken > ESP_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.hash.update(bytes);
        while !bytes.is_empty() {
            let (into, room) = if self.first.len() < UNIT {
                (&mut self.first, UNIT)
            } else {
                (&mut self.piece, PIECE)
            };
            let (now, later) = bytes.split_at(bytes.len().min(room - into.len()));
            into.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// The first unit, if all the rest is what was announced; then the whole is read back. Where the
    /// disk gives back something else, the ESP is blank again.
    ///
    /// # Errors
    /// [`FillError`], each kind of it.
    pub fn finish(mut self, announced: &Digest) -> Result<(), FillError> {
        let failed = |_| FillError::Unwritable;
        if self.taken < ESP_BYTES {
            return Err(FillError::Cut);
        }
        self.flush().map_err(failed)?;
        if finished(self.hash) != *announced {
            return Err(FillError::Altered);
        }
        self.esp.write(0, &self.first).map_err(failed)?;
        if hash(self.esp).is_ok_and(|found| found == *announced) {
            return Ok(());
        }
        let _ = blank(self.esp);
        Err(FillError::Unwritable)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.esp.write(self.unit, &self.piece)?;
            self.unit += (self.piece.len() / UNIT) as u64;
            self.piece.clear();
        }
        Ok(())
    }
}

fn finished(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest(digest)
}
