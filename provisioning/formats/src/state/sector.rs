//! A sector of `state` that is whole or is none: magic (16), format u16, fields, checksum of all before,
//! zeros to the end of its unit.

use super::{UNIT, blank};
use crate::digest::Digest;

/// Bytes before the fields.
const HEAD: usize = 16 + 2;

/// What all sectors of one kind begin with, and how they are summed up.
pub(super) struct Kind {
    pub(super) magic: &'static [u8; 16],
    pub(super) format: u16,
    /// A tagged SHA-256.
    pub(super) checksum: fn(&[u8]) -> Digest,
}

impl Kind {
    /// A unit with these fields.
    pub(super) fn encode(&self, fields: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::with_capacity(UNIT);
        out.extend_from_slice(self.magic);
        out.extend_from_slice(&self.format.to_be_bytes());
        fields.iter().for_each(|field| out.extend_from_slice(field));
        let checksum = (self.checksum)(&out);
        out.extend_from_slice(&checksum.0);
        out.resize(UNIT, 0);
        out
    }

    /// The fields, `N` bytes; `None`: damaged, torn or never written.
    pub(super) fn decode<'a, const N: usize>(&self, unit: &'a [u8]) -> Option<&'a [u8; N]> {
        let (summed, rest) = unit.split_at_checked(HEAD + N)?;
        let (checksum, padding) = rest.split_at_checked(32)?;
        let whole = summed.starts_with(self.magic)
            && summed[16..HEAD] == self.format.to_be_bytes()
            && (self.checksum)(summed).0 == checksum
            && blank(padding);
        summed[HEAD..].first_chunk().filter(|_| whole)
    }
}
