//! Anchors: the one thing an image trusts before it has seen a bundle. `/anchors` of the initramfs,
//! so PCR 11 covers them: u16 format version (big-endian), then postcard, nothing behind it.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::body::Label,
    efi::variable::{Update, VariableError},
    limits,
};

/// The one format version.
pub const VERSION: u16 = 1;

/// Bytes of encoded anchors: three updates with a certificate or two each, and sixteen keys, stay far
/// below it.
pub const MAX_BYTES: usize = 64 * 1024;

/// Namespace, bundle signers and their threshold, and the site's Secure Boot variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    /// The site's namespace.
    pub namespace: Label,
    /// How many distinct signers a bundle needs.
    pub threshold: u8,
    /// SSH public key blobs (RFC 4253 section 6.6), binary.
    pub signers: Vec<std::vec::Vec<u8>, { limits::SIGNERS }>,
    /// Signed update of PK, as `SetVariable` with time-based authentication takes it.
    pub pk: std::vec::Vec<u8>,
    /// Signed update of KEK.
    pub kek: std::vec::Vec<u8>,
    /// Signed update of db.
    pub db: std::vec::Vec<u8>,
}

/// Why bytes are not anchors. The image is at fault: build it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    /// Written by a version of Casemate that this one does not know.
    #[error("unknown-version: anchors of format {0}, expected {VERSION}")]
    UnknownVersion(u16),
    /// Cut short, or not the form of this version.
    #[error("malformed: the anchors are cut short or damaged")]
    Malformed,
    /// Something stands behind the last field.
    #[error("trailing-bytes: something stands behind the anchors")]
    TrailingBytes,
    /// More than [`MAX_BYTES`].
    #[error("too-large: the anchors have more than {MAX_BYTES} bytes")]
    TooLarge,
    /// The threshold is zero or above the number of signers.
    #[error("threshold: expected 1 to {signers} signatures, found {threshold}")]
    Threshold {
        /// What the anchors demand.
        threshold: u8,
        /// How many signers they list.
        signers: usize,
    },
    /// The same key stands there twice and would count twice.
    #[error("duplicate: a signer is listed twice")]
    DuplicateSigner,
    /// PK, KEK or db is not a signed update with at least one certificate.
    #[error("{0}: {1}")]
    Variable(&'static str, VariableError),
}

impl Anchors {
    /// The bytes of `/anchors`.
    ///
    /// # Errors
    /// What [`Self::decode`] would refuse.
    pub fn encode(&self) -> Result<std::vec::Vec<u8>, AnchorsError> {
        self.check()?;
        let mut out = VERSION.to_be_bytes().to_vec();
        out.extend(postcard::to_allocvec(self).map_err(|_| AnchorsError::Malformed)?);
        if out.len() > MAX_BYTES { Err(AnchorsError::TooLarge) } else { Ok(out) }
    }

    /// Parses `/anchors`.
    ///
    /// # Errors
    /// [`AnchorsError`], each kind of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnchorsError> {
        if bytes.len() > MAX_BYTES {
            return Err(AnchorsError::TooLarge);
        }
        let (version, body) = bytes.split_first_chunk().ok_or(AnchorsError::Malformed)?;
        match u16::from_be_bytes(*version) {
            VERSION => {}
            other => return Err(AnchorsError::UnknownVersion(other)),
        }
        let (anchors, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|_| AnchorsError::Malformed)?;
        if !rest.is_empty() {
            return Err(AnchorsError::TrailingBytes);
        }
        // postcard reads over-long integers; one content has one form.
        if anchors.encode()? != bytes {
            return Err(AnchorsError::Malformed);
        }
        Ok(anchors)
    }

    fn check(&self) -> Result<(), AnchorsError> {
        let (threshold, signers) = (self.threshold, self.signers.len());
        if threshold == 0 || usize::from(threshold) > signers {
            return Err(AnchorsError::Threshold { threshold, signers });
        }
        if self.signers.iter().enumerate().any(|(at, key)| self.signers[..at].contains(key)) {
            return Err(AnchorsError::DuplicateSigner);
        }
        for (name, update) in [("PK", &self.pk), ("KEK", &self.kek), ("db", &self.db)] {
            let certificates = Update::parse(update).and_then(|update| update.certificates());
            match certificates {
                Ok(list) if list.is_empty() => {
                    return Err(AnchorsError::Variable(name, VariableError::NotCertificate));
                }
                Ok(_) => {}
                Err(error) => return Err(AnchorsError::Variable(name, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
