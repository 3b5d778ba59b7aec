//! What a custodian keeps: the plaintext of a share's age file. The box writes it without a bundle;
//! the custodian's tool writes it again with the newest bundle that the custodian has seen, so that
//! k share files are enough to bring a site back.
//!
//! `casemate-share\0\0`, u16 version, u8 length and namespace, u32 generation, u32 split, u8 threshold,
//! digest fingerprint, 33 bytes share, in version 2 u32 length and anchors, u32 length and bundle
//! envelope (length 0: none).
//!
//! The anchors stand beside the share because whoever could write another file of this share knows
//! the share: age does not say who encrypted, the share does.

use zeroize::Zeroizing;

use thiserror::Error;

use crate::{
    anchors,
    bundle::body::{Label, RootSection},
    code::Code,
    digest::Digest,
    limits,
    share::{Share, split::SHARE_BYTES},
};

/// First bytes of the plaintext.
pub const MAGIC: &[u8; 16] = b"casemate-share\0\0";
/// What a box writes: no anchors.
const WITHOUT_ANCHORS: u16 = 1;
/// What a custodian's tool writes.
const WITH_ANCHORS: u16 = 2;

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
    /// The anchors that its custodian believes, encoded; empty: none yet.
    pub anchors: Vec<u8>,
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
    #[error("expected version 1 or 2 of the share format, found {0}")]
    UnknownVersion(u16),
    /// Something follows the bundle.
    #[error("expected nothing after the share file's bundle")]
    TrailingBytes,
    /// A bundle or anchors beyond their limit.
    #[error("expected a bundle and anchors within their size limits in the share file")]
    TooLarge,
}

impl ShareFile {
    /// Its bytes; secret.
    #[must_use]
    pub fn expose_encoded(&self) -> Zeroizing<Vec<u8>> {
        let name = self.namespace.as_str().as_bytes();
        let capacity = 160 + name.len() + self.anchors.len() + self.bundle.len();
        let mut out = Zeroizing::new(Vec::with_capacity(capacity));
        let version = if self.anchors.is_empty() { WITHOUT_ANCHORS } else { WITH_ANCHORS };
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&version.to_be_bytes());
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.split.to_be_bytes());
        out.push(self.threshold);
        out.extend_from_slice(&self.fingerprint.0);
        out.extend_from_slice(self.share.expose_bytes());
        if version == WITH_ANCHORS {
            put(&mut out, &self.anchors);
        }
        put(&mut out, &self.bundle);
        out
    }

    /// Reads a share file's plaintext.
    ///
    /// # Errors
    /// [`ShareFileError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ShareFileError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(ShareFileError::Malformed)?;
        let version = u16::from_be_bytes(take(&mut rest)?);
        if ![WITHOUT_ANCHORS, WITH_ANCHORS].contains(&version) {
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
        let anchors = match version {
            WITHOUT_ANCHORS => Vec::new(),
            _ => sized(&mut rest, anchors::MAX_BYTES)?,
        };
        // One content has one version.
        if version == WITH_ANCHORS && anchors.is_empty() {
            return Err(ShareFileError::Malformed);
        }
        let bundle = sized(&mut rest, limits::BUNDLE_BYTES)?;
        if !rest.is_empty() {
            return Err(ShareFileError::TrailingBytes);
        }
        Ok(Self { namespace, generation, split, threshold, fingerprint, share, anchors, bundle })
    }
}

impl ShareFile {
    /// Whether it is of the root and the split that a bundle has in force.
    ///
    /// # Errors
    /// `no-root`, `wrong-root`, `wrong-split` (an earlier one: its custodian may have left), and
    /// `wrong-share`, where all of it fits but the share.
    pub fn is_of(&self, root: &RootSection) -> Result<(), Code> {
        let established = root.established.as_ref().ok_or(Code::NoRoot)?;
        if (self.generation, self.fingerprint) != (established.generation, established.fingerprint)
        {
            return Err(Code::WrongRoot);
        }
        if (self.split, self.threshold) != (root.split, root.threshold) {
            return Err(Code::WrongSplit);
        }
        let place = usize::from(self.share.index()).checked_sub(1);
        let committed = place.and_then(|place| established.commitments.get(place));
        if committed == Some(&self.share.commitment()) { Ok(()) } else { Err(Code::WrongShare) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ShareFileError> {
    let (taken, after) = rest.split_first_chunk().ok_or(ShareFileError::Malformed)?;
    *rest = after;
    Ok(*taken)
}

/// u32 length, at most `limit`, then that many bytes.
fn sized(rest: &mut &[u8], limit: usize) -> Result<Vec<u8>, ShareFileError> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?));
    let length = length.ok().filter(|length| *length <= limit).ok_or(ShareFileError::TooLarge)?;
    part(rest, length).map(<[u8]>::to_vec)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn part<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ShareFileError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(ShareFileError::Malformed)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests;
