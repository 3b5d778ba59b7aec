//! A block of the audit log: records under one clear header, sealed as a whole.
//!
//! Header (128 bytes, all of it associated data): magic (6), format u16, log id (32), number u64,
//! write count u64, position u64, snapshot u64, root generation u32, bytes of records u32, closed u8,
//! zeros (7), nonce (24), zeros (16). Then, sealed with XAES-256-GCM: the former block's leaf (32),
//! the records, zeros to fill up whole units of 4 KiB; last the tag (16). Big-endian.

use super::tree;
use crate::{digest::Digest, state::UNIT};

/// First bytes of every block.
pub const MAGIC: &[u8; 6] = b"cmaudb";
/// Bytes of the clear header.
pub const HEADER_BYTES: usize = 128;
/// What of a block is not records: header, link, tag.
pub const OVERHEAD: usize = HEADER_BYTES + LINK + TAG;
/// Bytes of the largest block.
pub const MAX_BYTES: usize = 64 * 1024;
/// Bytes of records in the largest block.
pub const MAX_RECORDS: usize = MAX_BYTES - OVERHEAD;

const FORMAT: u16 = 1;
const LINK: usize = 32;
const TAG: usize = 16;

/// The clear header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Random id of the log.
    pub log: Digest,
    /// Number of the block in its log: its leaf in the tree.
    pub number: u64,
    /// Counts every write of the log on this disk, over all logs: of two versions the higher is newer.
    pub write: u64,
    /// Position in the ring where this block lies or will lie once closed.
    pub position: u64,
    /// Position of the block that holds the newest snapshot, at most this one's.
    pub snapshot: u64,
    /// Generation of the root that the log's keys come from.
    pub generation: u32,
    /// Bytes of records.
    pub length: u32,
    /// Closed: its leaf is in the tree and it is never written again.
    pub closed: bool,
    /// Fresh at every write.
    pub nonce: [u8; 24],
}

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Leaf hash of the block before; all zero in block 0.
    pub link: Digest,
    /// Its records, encoded one after the other.
    pub records: Vec<u8>,
}

/// The cipher of a log: XAES-256-GCM under the log's block key.
pub trait Cipher {
    /// Encrypts in place and gives the tag.
    fn seal(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8]) -> [u8; 16];
    /// Decrypts in place; `false`: it is not authentic, and `text` is of no use.
    #[must_use]
    fn open(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool;
}

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No block of ours.
    #[error("block-foreign")]
    Foreign,
    /// A later format.
    #[error("block-version")]
    Version,
    /// A header field that cannot be.
    #[error("block-header")]
    Header,
    /// Not authentic under this key: torn, damaged, or of another root.
    #[error("block-seal")]
    Seal,
    /// Authentic, but the padding is not empty.
    #[error("block-padding")]
    Padding,
}

/// Bytes on disk of a block with so many bytes of records.
#[must_use]
pub const fn sealed_bytes(records: usize) -> usize {
    (records + OVERHEAD).next_multiple_of(UNIT)
}

/// The leaf of a block: over its records, without padding.
#[must_use]
pub fn leaf(records: &[u8]) -> Digest {
    tree::leaf(records)
}

/// Seals a block into whole units. `header.length` must be the length of `records`, at most
/// [`MAX_RECORDS`].
#[must_use]
pub fn seal(header: &Header, link: &Digest, records: &[u8], cipher: &dyn Cipher) -> Vec<u8> {
    let mut out = vec![0; sealed_bytes(records.len())];
    let body = out.len() - TAG;
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    out[HEADER_BYTES..HEADER_BYTES + LINK].copy_from_slice(&link.0);
    out[HEADER_BYTES + LINK..][..records.len()].copy_from_slice(records);
    let (aad, rest) = out.split_at_mut(HEADER_BYTES);
    let tag = cipher.seal(&header.nonce, aad, &mut rest[..body - HEADER_BYTES]);
    out[body..].copy_from_slice(&tag);
    out
}

/// Opens the block that begins `bytes` (more may follow).
///
/// # Errors
/// See [`BlockError`].
pub fn open(bytes: &[u8], cipher: &dyn Cipher) -> Result<(Header, Body), BlockError> {
    let header = Header::decode(bytes)?;
    let sealed = bytes.get(..header.bytes()).ok_or(BlockError::Header)?;
    let (aad, rest) = sealed.split_at(HEADER_BYTES);
    let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(BlockError::Header)?;
    let mut text = text.to_vec();
    if !cipher.open(&header.nonce, aad, &mut text, tag) {
        return Err(BlockError::Seal);
    }
    let records = LINK..LINK + header.length as usize;
    if text[records.end..].iter().any(|byte| *byte != 0) {
        return Err(BlockError::Padding);
    }
    let mut link = [0; LINK];
    link.copy_from_slice(&text[..LINK]);
    text.truncate(records.end);
    text.drain(..LINK);
    Ok((header, Body { link: Digest(link), records: text }))
}

impl Header {
    /// Bytes of the whole block on disk.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        sealed_bytes(self.length as usize)
    }

    /// Units of the whole block on disk.
    #[must_use]
    pub const fn units(&self) -> u64 {
        (self.bytes() / UNIT) as u64
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..6].copy_from_slice(MAGIC);
        out[6..8].copy_from_slice(&FORMAT.to_be_bytes());
        out[8..40].copy_from_slice(&self.log.0);
        out[40..48].copy_from_slice(&self.number.to_be_bytes());
        out[48..56].copy_from_slice(&self.write.to_be_bytes());
        out[56..64].copy_from_slice(&self.position.to_be_bytes());
        out[64..72].copy_from_slice(&self.snapshot.to_be_bytes());
        out[72..76].copy_from_slice(&self.generation.to_be_bytes());
        out[76..80].copy_from_slice(&self.length.to_be_bytes());
        out[80] = u8::from(self.closed);
        out[88..112].copy_from_slice(&self.nonce);
        out
    }

    /// Reads the header that begins `bytes`. Nothing of it is to be trusted before the block opened.
    ///
    /// # Errors
    /// Not a block, a later format, or a field that cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>().ok_or(BlockError::Foreign)?;
        if !bytes.starts_with(MAGIC) {
            return Err(BlockError::Foreign);
        }
        if bytes[6..8] != FORMAT.to_be_bytes() {
            return Err(BlockError::Version);
        }
        let header = Self {
            log: Digest(field(bytes, 8)),
            number: u64::from_be_bytes(field(bytes, 40)),
            write: u64::from_be_bytes(field(bytes, 48)),
            position: u64::from_be_bytes(field(bytes, 56)),
            snapshot: u64::from_be_bytes(field(bytes, 64)),
            generation: u32::from_be_bytes(field(bytes, 72)),
            length: u32::from_be_bytes(field(bytes, 76)),
            closed: bytes[80] == 1,
            nonce: field(bytes, 88),
        };
        let plausible = header.length as usize <= MAX_RECORDS && header.snapshot <= header.position;
        if plausible && header.encode() == *bytes { Ok(header) } else { Err(BlockError::Header) }
    }
}

/// The fixed field at `at`, which lies within the header.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests;
