//! The file and message form of a bundle: magic, body, signatures.
//!
//! `casemate-bundle\0`, u16 1, u32 length and body, u8 count, then for each signature u16 length and
//! SSHSIG blob. All numbers big-endian, nothing after the last signature.

use std::vec::Vec;

use crate::{bundle::error::BundleError, limits};

/// First bytes of every bundle.
pub const MAGIC: &[u8; 16] = b"casemate-bundle\0";
/// Version of the envelope; the body has its own.
const VERSION: u16 = 1;

/// A bundle as it travels: not yet verified. Made only by [`Envelope::parse`] within
/// [`limits::BUNDLE_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Format version and sections: what is signed.
    pub body: Vec<u8>,
    /// SSHSIG blobs, binary (OpenSSH PROTOCOL.sshsig).
    pub signatures: Vec<Vec<u8>>,
}

impl Envelope {
    /// Splits a bundle into body and signatures; believes neither.
    ///
    /// # Errors
    /// Too large (looked at first), no envelope, or trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > limits::BUNDLE_BYTES {
            let (limit, found) = (limits::BUNDLE_BYTES, bytes.len());
            return Err(BundleError::TooLarge { limit, found });
        }
        let mut rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(BundleError::Envelope("it starts with `casemate-bundle`"))?;
        let version = u16::from_be_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(BundleError::UnknownVersion(version));
        }
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).unwrap_or(usize::MAX);
        let body = split(&mut rest, length)?.to_vec();
        let [count] = take(&mut rest)?;
        if usize::from(count) > limits::SIGNERS {
            return Err(BundleError::Envelope("at most 16 signatures"));
        }
        let mut signatures = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
            if length > limits::SIGNATURE_BYTES {
                return Err(BundleError::Envelope("signatures of at most 1024 bytes"));
            }
            signatures.push(split(&mut rest, length)?.to_vec());
        }
        if rest.is_empty() {
            Ok(Self { body, signatures })
        } else {
            Err(BundleError::TrailingBytes(rest.len()))
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// What [`Envelope::parse`] would refuse: too large, too many or too long signatures.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.body);
        out.push(u8::try_from(self.signatures.len()).unwrap_or(u8::MAX));
        for signature in &self.signatures {
            let length = u16::try_from(signature.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(signature);
        }
        Self::parse(&out)?;
        Ok(out)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BundleError> {
    let (taken, after) = rest.split_first_chunk().ok_or(BundleError::Truncated)?;
    *rest = after;
    Ok(*taken)
}

fn split<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], BundleError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(BundleError::Truncated)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests;
