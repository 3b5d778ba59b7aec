//! What a custodian keeps: the plaintext of a share's age file. The box writes it without a bundle;
//! the custodian's tool writes it again with the newest bundle that the custodian has seen, so that
//! k share files are enough to bring a site back.
//!
//! `casemate-share\0\0`, u16 1, u8 length and namespace, u32 generation, u32 split, u8 threshold,
//! digest fingerprint, 33 bytes share, u32 length and bundle envelope (length 0: none).

use zeroize::Zeroizing;

use thiserror::Error;

use crate::{
    bundle::body::Label,
    digest::Digest,
    limits,
    share::{Share, split::SHARE_BYTES},
};

/// First bytes of the plaintext.
pub const MAGIC: &[u8; 16] = b"casemate-share\0\0";
/// Version of the format.
const VERSION: u16 = 1;

/// A custodian's share with what it belongs to.
pub struct ShareFile {
    /// The site.
    pub namespace: Label,
    /// Generation of the root.
    pub generation: u32,
    /// Number of the split.
    pub split: u32,
    /// How many shares open the root.
    pub threshold: u8,
    /// Fingerprint of the root.
    pub fingerprint: Digest,
    /// The secret.
    pub share: Share,
    /// The newest bundle its custodian saw; empty: none yet.
    pub bundle: Vec<u8>,
}

/// Why bytes are no share file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShareFileError {
    /// Not the format.
    #[error("expected the plaintext of a Casemate share, found other bytes")]
    Malformed,
    /// A later format.
    #[error("expected version 1 of the share format, found {0}")]
    UnknownVersion(u16),
    /// Something follows the bundle.
    #[error("expected nothing after the share file's bundle")]
    TrailingBytes,
    /// A bundle beyond the limit.
    #[error("expected a bundle within its size limit in the share file")]
    TooLarge,
}

impl ShareFile {
    /// Its bytes; secret.
    #[must_use]
    pub fn expose_encoded(&self) -> Zeroizing<Vec<u8>> {
        let name = self.namespace.as_str().as_bytes();
        let mut out = Zeroizing::new(Vec::with_capacity(160 + name.len() + self.bundle.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.split.to_be_bytes());
        out.push(self.threshold);
        out.extend_from_slice(&self.fingerprint.0);
        out.extend_from_slice(self.share.expose_bytes());
        out.extend_from_slice(&u32::try_from(self.bundle.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&self.bundle);
        out
    }

    /// Reads a share file's plaintext.
    ///
    /// # Errors
    /// [`ShareFileError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ShareFileError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(ShareFileError::Malformed)?;
        let version = u16::from_be_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(ShareFileError::UnknownVersion(version));
        }
        let [length] = take(&mut rest)?;
        let name = part(&mut rest, usize::from(length))?;
        let namespace = core::str::from_utf8(name).ok().and_then(Label::parse);
        let namespace = namespace.ok_or(ShareFileError::Malformed)?;
        let generation = u32::from_be_bytes(take(&mut rest)?);
        let split = u32::from_be_bytes(take(&mut rest)?);
        let [threshold] = take(&mut rest)?;
        let fingerprint = Digest(take(&mut rest)?);
        let share = part(&mut rest, SHARE_BYTES)?;
        let share = Share::from_bytes(share).map_err(|_| ShareFileError::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?));
        let length = length.map_err(|_| ShareFileError::TooLarge)?;
        if length > limits::BUNDLE_BYTES {
            return Err(ShareFileError::TooLarge);
        }
        let bundle = part(&mut rest, length)?.to_vec();
        if !rest.is_empty() {
            return Err(ShareFileError::TrailingBytes);
        }
        Ok(Self { namespace, generation, split, threshold, fingerprint, share, bundle })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ShareFileError> {
    let (taken, after) = rest.split_first_chunk().ok_or(ShareFileError::Malformed)?;
    *rest = after;
    Ok(*taken)
}

fn part<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ShareFileError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(ShareFileError::Malformed)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests;
