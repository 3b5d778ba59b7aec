//! A slot: one bundle, and the root sealed for it or none. One write, one checksum.
//!
//! Magic (16), format u16, write number u64, label u64, count of branches u8 and their digests, length
//! of the blob u32 (all ones: none), length of the bundle u32, blob, bundle, checksum (tagged SHA-256
//! of all before), zeros to the end of the unit. Big-endian.

use heapless::Vec as Bounded;

use super::{UNIT, blank};
use crate::{
    digest::{Digest, tagged},
    limits,
};

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Orders slots of the same `seq`; higher is newer.
    pub write_number: u64,
    /// The label that the blob's policy compares with the counter; 0 without a blob.
    pub label: u64,
    /// Branch digests of the blob's policy, in bundle order.
    pub branches: Bounded<Digest, { limits::BRANCHES }>,
    /// The bundle's envelope: body and signatures, as received.
    pub bundle: Vec<u8>,
    /// The sealed object (public and private area), as the TPM room encodes it.
    pub blob: Option<Vec<u8>>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// Never written.
    #[error("slot-empty")]
    Empty,
    /// Something else stands there.
    #[error("slot-foreign")]
    Foreign,
    /// A later format.
    #[error("slot-version")]
    Version,
    /// A length that does not fit.
    #[error("slot-length")]
    Length,
    /// The checksum is another one: torn or damaged.
    #[error("slot-checksum")]
    Checksum,
    /// A write number that no box ever counts up to: after it there might be no higher one.
    #[error("slot-write-number")]
    WriteNumber,
}

/// Bytes of a slot: a bundle of 768 KiB and what belongs to it.
pub const SLOT_BYTES: usize = 1024 * 1024;
/// Units of a slot.
pub const SLOT_UNITS: u64 = (SLOT_BYTES / UNIT) as u64;
/// Bytes of a sealed object at most: TPM2B_PUBLIC and TPM2B_PRIVATE are each well below 1 KiB.
pub const BLOB_BYTES: usize = 4096;
/// The highest write number: one a second for 34,000 years.
pub const LAST_WRITE: u64 = 1 << 40;
/// Bytes of the longest slot: the last unit of each slot's place stays free for others.
pub const MOST_BYTES: usize = {
    let fields = 16 + 2 + 8 + 8 + 1 + 32 * limits::BRANCHES + 4 + 4;
    (fields + BLOB_BYTES + limits::BUNDLE_BYTES + 32).next_multiple_of(UNIT)
};

const MAGIC: &[u8; 16] = b"casemate.slot\0\0\0";
const FORMAT: u16 = 1;
const NO_BLOB: u32 = u32::MAX;
/// Offset of the count of branches.
const COUNT: usize = 16 + 2 + 8 + 8;

impl Slot {
    /// The slot's units, or `None` where a part is too large.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let blob = self.blob.as_deref();
        let blob_length = match blob {
            None => NO_BLOB,
            Some(blob) if blob.len() <= BLOB_BYTES => u32::try_from(blob.len()).ok()?,
            Some(_) => return None,
        };
        if self.write_number > LAST_WRITE {
            return None;
        }
        if self.bundle.is_empty() || self.bundle.len() > limits::BUNDLE_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(self.bundle.len() + 2 * UNIT);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.write_number.to_be_bytes());
        out.extend_from_slice(&self.label.to_be_bytes());
        out.push(u8::try_from(self.branches.len()).ok()?);
        self.branches.iter().for_each(|branch| out.extend_from_slice(&branch.0));
        out.extend_from_slice(&blob_length.to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.bundle.len()).ok()?.to_be_bytes());
        out.extend_from_slice(blob.unwrap_or_default());
        out.extend_from_slice(&self.bundle);
        let checksum = tagged("slot", &[&out]);
        out.extend_from_slice(&checksum.0);
        out.resize(out.len().next_multiple_of(UNIT), 0);
        Some(out)
    }

    /// Reads the units of a slot; units behind it may hold remains of a longer one.
    ///
    /// # Errors
    /// Anything that [`Slot::encode`] would not have written, by name.
    pub fn decode(bytes: &[u8]) -> Result<Self, Absent> {
        if bytes.first_chunk::<UNIT>().is_none_or(|unit| blank(unit)) {
            return Err(Absent::Empty);
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(Absent::Foreign)?;
        let format = u16::from_be_bytes(take(&mut rest)?);
        if format != FORMAT {
            return Err(Absent::Version);
        }
        let write_number = u64::from_be_bytes(take(&mut rest)?);
        let label = u64::from_be_bytes(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        let mut branches = Bounded::new();
        for _ in 0..count {
            branches.push(Digest(take(&mut rest)?)).map_err(|_| Absent::Length)?;
        }
        let blob_length = u32::from_be_bytes(take(&mut rest)?);
        let bundle_length = u32::from_be_bytes(take(&mut rest)?) as usize;
        let blob = match blob_length {
            NO_BLOB => None,
            length if length as usize <= BLOB_BYTES => {
                Some(split(&mut rest, length as usize)?.to_vec())
            }
            _ => return Err(Absent::Length),
        };
        if bundle_length == 0 || bundle_length > limits::BUNDLE_BYTES {
            return Err(Absent::Length);
        }
        let bundle = split(&mut rest, bundle_length)?.to_vec();
        let covered = bytes.len() - rest.len();
        let checksum: [u8; 32] = take(&mut rest)?;
        let end = (covered + 32).next_multiple_of(UNIT);
        let padding = bytes.get(covered + 32..end).ok_or(Absent::Length)?;
        if tagged("slot", &[&bytes[..covered]]).0 != checksum || !blank(padding) {
            return Err(Absent::Checksum);
        }
        if write_number > LAST_WRITE {
            return Err(Absent::WriteNumber);
        }
        Ok(Self { write_number, label, branches, bundle, blob })
    }
}

/// How many bytes a slot claims to have by its first unit, in whole units and at most
/// [`SLOT_BYTES`]: what has to be read before [`Slot::decode`] says whether that is true.
#[must_use]
pub fn claimed_bytes(unit: &[u8]) -> usize {
    let field = |at: usize| {
        let bytes = unit.get(at..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let branches = 32 * usize::from(unit.get(COUNT).copied().unwrap_or(0));
    let lengths = COUNT + 1 + branches;
    let blob = match field(lengths) {
        NO_BLOB => 0,
        length => length as usize,
    };
    let claimed = lengths + 8 + blob + field(lengths + 4) as usize + 32;
    claimed.next_multiple_of(UNIT).min(SLOT_BYTES)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Absent> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Absent::Length)?;
    *rest = tail;
    Ok(*head)
}

fn split<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Absent> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Absent::Length)?;
    *rest = tail;
    Ok(head)
}
