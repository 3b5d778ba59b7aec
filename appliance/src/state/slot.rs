//! A slot: one bundle, and the root sealed for it or none. One write, one checksum.

use casemate_formats::digest::Digest;
use heapless::Vec as Bounded;

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Orders slots of the same `seq`; higher is newer.
    pub write_number: u64,
    /// The label that the blob's policy compares with the counter; 0 without a blob.
    pub label: u64,
    /// Branch digests of the blob's policy, in bundle order.
    pub branches: Bounded<Digest, 8>,
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
}
