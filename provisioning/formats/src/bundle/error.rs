//! Why a bundle is refused: one name for each reason, the same in the box, the tools and the runbook.

use thiserror::Error;

use crate::code::Code;

/// What is wrong with a bundle as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Refused before a byte was parsed.
    #[error("expected at most {limit} bytes, found {found}")]
    TooLarge {
        /// [`crate::limits::BUNDLE_BYTES`].
        limit: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The envelope around body and signatures.
    #[error("expected a bundle envelope: {0}")]
    Envelope(&'static str),
    /// The envelope ends within body or signatures.
    #[error("expected more bytes: the bundle ends within its body or signatures")]
    Truncated,
    /// A version of the envelope that this code does not know.
    #[error("expected version 1 of the bundle envelope, found {0}")]
    UnknownVersion(u16),
    /// Bytes after the last signature.
    #[error("expected nothing after the last signature, found {0} bytes")]
    TrailingBytes(usize),
    /// Not signed by enough of the anchors' signers.
    #[error(
        "expected signatures by {needed} distinct signers of the anchors, found {valid} \
         ({unknown} by other keys, {invalid} that do not hold, {repeated} by the same signer again)"
    )]
    TooFewSignatures {
        /// The anchors' threshold.
        needed: u8,
        /// Distinct signers of the anchors whose signature holds.
        valid: usize,
        /// Signatures by keys that the anchors do not list.
        unknown: usize,
        /// Signatures of listed keys that do not verify, or lack user presence.
        invalid: usize,
        /// Further signatures by a signer who was counted already.
        repeated: usize,
    },
    /// The signed body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Another site's bundle.
    #[error("expected a bundle of this site's namespace, found another's")]
    ForeignNamespace,
}

/// What is wrong with a bundle's body. Names of sections and tables are ours, never the input's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It ends early.
    #[error("expected more bytes: the body ends within {0}")]
    Truncated(&'static str),
    /// A format version of the body, or of a section, that this code does not know.
    #[error("expected version {expected} of {what}, found {found}")]
    UnknownVersion {
        /// `body`, or a section.
        what: &'static str,
        /// The one this code reads.
        expected: u16,
        /// The one that came.
        found: u16,
    },
    /// A section that this code does not know.
    #[error("expected the sections 1 to 6, found section {0}")]
    UnknownSection(u16),
    /// The same section twice.
    #[error("expected every section once, found section {0} again")]
    DuplicateSection(u16),
    /// Sections not in ascending order.
    #[error("expected sections in ascending order, found section {0} after a higher one")]
    DescendingSection(u16),
    /// A section is not there.
    #[error("expected section {0}, found none")]
    MissingSection(&'static str),
    /// Bytes after the value of a section.
    #[error("expected nothing after the value in section {0}")]
    TrailingBytes(&'static str),
    /// Another encoding of the same value.
    #[error("expected the canonical encoding of section {0}, found another one")]
    NotCanonical(&'static str),
    /// Bytes that are no value of the section's type.
    #[error("expected a value of section {0}, found bytes that are none")]
    Malformed(&'static str),
    /// A small table or a name of the section exceeds the firmware's capacity, or a name is none.
    #[error("expected tables and names of section {0} within the firmware's capacities")]
    BeyondCapacity(&'static str),
    /// A table larger than the firmware takes.
    #[error("expected at most {limit} {table}, found {found}")]
    TooLarge {
        /// Which table.
        table: &'static str,
        /// Its limit in [`crate::limits`].
        limit: usize,
        /// What came.
        found: usize,
    },
    /// Images times PCR 7 values of one host.
    #[error("expected at most 8 pairs of image and PCR 7 value for a host, found {0}")]
    TooManyBranches(usize),
    /// A table that must not be empty is.
    #[error("expected at least one of {0}, found none")]
    Empty(&'static str),
    /// Entries out of order.
    #[error("expected {0} in ascending order")]
    Unsorted(&'static str),
    /// The same entry twice.
    #[error("expected every one of {0} once, found one again")]
    Duplicate(&'static str),
    /// Role bits without a meaning, or with none at this place.
    #[error("expected roles that exist and that belong to {0}")]
    ReservedRole(&'static str),
    /// A number or address outside its range.
    #[error("expected {0}")]
    OutOfRange(&'static str),
    /// Two values that do not go together.
    #[error("expected {0}")]
    Contradiction(&'static str),
    /// A name that stands for nothing in this bundle.
    #[error("expected {0} to name something that this bundle lists")]
    Dangling(&'static str),
    /// A root that not every custodian acknowledged.
    #[error("expected {expected} acknowledgements, one for each custodian, found {found}")]
    MissingAck {
        /// Custodians of the root.
        expected: usize,
        /// Acknowledgements that came.
        found: usize,
    },
    /// An acknowledgement that is not its commitment's.
    #[error("expected each acknowledgement to belong to its commitment, found one that does not")]
    WrongAck,
    /// The root section contradicts itself.
    #[error("expected a consistent root section: {0}")]
    Root(&'static str),
}

/// `expected X, found Y` taken apart: every refusal here is written so; some have no `found`.
#[must_use]
pub fn expected_and_found(refusal: &str) -> (&str, Option<&str>) {
    let text = refusal.strip_prefix("expected ").unwrap_or(refusal);
    match text.split_once(", found ").or_else(|| text.split_once(": ")) {
        Some((expected, found)) => (expected, Some(found)),
        None => (text, None),
    }
}

impl BundleError {
    /// The stable code of the refusal.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Envelope(_) => Code::MalformedBundle,
            Self::Truncated => Code::Truncated,
            Self::UnknownVersion(_) => Code::UnknownVersion,
            Self::TrailingBytes(_) => Code::TrailingBytes,
            Self::TooFewSignatures { .. } => Code::TooFewSignatures,
            Self::Body(body) => body.code(),
            Self::ForeignNamespace => Code::ForeignNamespace,
        }
    }
}

impl BodyError {
    /// The stable code of the refusal.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Truncated(_) => Code::Truncated,
            Self::UnknownVersion { .. } => Code::UnknownVersion,
            Self::UnknownSection(_) => Code::UnknownSection,
            Self::DuplicateSection(_) | Self::Duplicate(_) => Code::Duplicate,
            Self::DescendingSection(_) => Code::SectionOrder,
            Self::MissingSection(_) => Code::MissingSection,
            Self::TrailingBytes(_) => Code::TrailingBytes,
            Self::NotCanonical(_) => Code::NotCanonical,
            Self::Malformed(_) => Code::MalformedBundle,
            Self::BeyondCapacity(_) | Self::TooLarge { .. } => Code::TableTooLarge,
            Self::TooManyBranches(_) => Code::TooManyBranches,
            Self::Unsorted(_) => Code::Unsorted,
            Self::ReservedRole(_) => Code::ReservedRole,
            Self::OutOfRange(_) => Code::OutOfRange,
            Self::MissingAck { .. } => Code::MissingAck,
            Self::WrongAck => Code::WrongAck,
            Self::Empty(_) | Self::Dangling(_) | Self::Contradiction(_) | Self::Root(_) => {
                Code::Inconsistent
            }
        }
    }
}
