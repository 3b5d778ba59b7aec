//! Checkpoints: C2SP tlog-checkpoint in a C2SP signed-note with one Ed25519 signature, so that any
//! transparency tool reads them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::record::Origin;
use crate::digest::Digest;

/// What a checkpoint says: this log has this many closed blocks, and this is the tree's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `namespace/host/log id`, also the name of the key.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

/// Why a note is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not a signed note that holds a checkpoint.
    #[error("checkpoint: format")]
    Format,
    /// Another log's, or another key's.
    #[error("checkpoint: origin")]
    Origin,
    /// No signature of this key, or a bad one.
    #[error("checkpoint: signature")]
    Signature,
}

/// Bytes of a note at most: three lines and a few signatures (witnesses may add theirs).
pub const NOTE_BYTES: usize = 4096;

/// Algorithm byte of Ed25519 in a key id (C2SP signed-note).
const ED25519: u8 = 1;

/// The origin of a log.
#[must_use]
pub fn origin(of: &Origin, log: &Digest) -> String {
    format!("{}/{}/{log}", of.namespace, of.host)
}

/// The signing key from its derived seed (`derive(root, "checkpoint", log id)`).
#[must_use]
pub fn key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(seed)
}

/// Signs a checkpoint: the whole note.
#[must_use]
pub fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> String {
    let text = text(checkpoint);
    let mut blob = key_id(&checkpoint.origin, &key.verifying_key()).to_vec();
    blob.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    format!("{text}\n\u{2014} {} {}\n", checkpoint.origin, STANDARD.encode(blob))
}

/// Verifies a note: the checkpoint of this origin, signed by this key. Signatures by others are
/// ignored, extension lines refused (ours has none).
///
/// # Errors
/// See [`CheckpointError`].
pub fn verify(note: &str, origin: &str, key: &[u8; 32]) -> Result<Checkpoint, CheckpointError> {
    let (signed, signatures) = note
        .split_once("\n\n")
        .filter(|_| note.len() <= NOTE_BYTES)
        .ok_or(CheckpointError::Format)?;
    let signatures = signatures.strip_suffix('\n').ok_or(CheckpointError::Format)?;
    let checkpoint = parse(signed).ok_or(CheckpointError::Format)?;
    if checkpoint.origin != origin {
        return Err(CheckpointError::Origin);
    }
    let key = VerifyingKey::from_bytes(key).map_err(|_| CheckpointError::Signature)?;
    let id = key_id(origin, &key);
    let mut verified = false;
    for line in signatures.split('\n') {
        let (name, blob) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.split_once(' '))
            .ok_or(CheckpointError::Format)?;
        let blob = STANDARD.decode(blob).map_err(|_| CheckpointError::Format)?;
        let (claimed, signature) = blob.split_at_checked(4).ok_or(CheckpointError::Format)?;
        if name == origin && claimed == id {
            let signature =
                Signature::from_slice(signature).map_err(|_| CheckpointError::Signature)?;
            key.verify_strict(text(&checkpoint).as_bytes(), &signature)
                .map_err(|_| CheckpointError::Signature)?;
            verified = true;
        }
    }
    if verified { Ok(checkpoint) } else { Err(CheckpointError::Signature) }
}

/// The signed text: origin, size, root in base64, a line each.
fn text(checkpoint: &Checkpoint) -> String {
    format!("{}\n{}\n{}\n", checkpoint.origin, checkpoint.size, STANDARD.encode(checkpoint.root.0))
}

fn parse(signed: &str) -> Option<Checkpoint> {
    let mut lines = signed.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        size: size.parse().ok()?,
        root: Digest(STANDARD.decode(root).ok()?.try_into().ok()?),
    };
    // Anything but the one writing of it (leading zeros, extension lines) is refused.
    let same = text(&checkpoint).strip_suffix('\n') == Some(signed);
    (same && !origin.is_empty()).then_some(checkpoint)
}

/// First four bytes of SHA-256(name, newline, algorithm, public key).
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests;
