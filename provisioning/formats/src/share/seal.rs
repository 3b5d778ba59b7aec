//! A share, or the root itself (Forward), sent to one boot of one box: HPKE base mode,
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180).
//!
//! `info` binds the site, the root section and the box; the bundle in force is authenticated beside.
//! HPKE does not say who sent it: the box compares commitment or fingerprint with its bundle.

use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256,
    kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    bundle::body::Label,
    digest::{Digest, Name, preimage},
    share::{Share, split::SHARE_BYTES},
};

type Kem = X25519HkdfSha256;

/// Version of what is inside; bound by the AEAD like all of it.
const FORMAT: u16 = 1;
/// Bytes of the encapsulated key (RFC 9180, table 2).
const ENCAPSULATED_BYTES: usize = 32;

/// The HPKE key of one boot. Made at boot, quoted, never stored.
pub struct BootKey {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: Digest,
}

impl BootKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let (secret, public) = Kem::gen_keypair_with_rng(rng);
        Self { secret, public: Digest(public.to_bytes().into()) }
    }

    /// Its public half, as a request carries it.
    #[must_use]
    pub fn public(&self) -> Digest {
        self.public
    }
}

/// What a message is bound to.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// The site.
    pub namespace: &'a Label,
    /// [`crate::bundle::Bundle::root_digest`]: shares stay valid while it does.
    pub root_section: Digest,
    /// Name of the box's EK.
    pub ek: &'a Name,
    /// Digest of the bundle in force, as sender and box know it.
    pub bundle: Digest,
}

/// What is sent. Secret: no Clone, Debug, PartialEq or Serialize; wiped on drop.
pub enum Contents {
    /// One custodian's share.
    Share(Share),
    /// The newest root, and the pending one where there is one.
    Root {
        /// Of the generation in force.
        root: Zeroizing<[u8; 32]>,
        /// Of the next one.
        pending: Option<Zeroizing<[u8; 32]>>,
    },
}

/// Why a message does not open, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The boot's key is none.
    #[error("expected an X25519 key of a boot, found other bytes")]
    Key,
    /// Made for another boot, box, site or root section; under another bundle; or damaged.
    #[error("expected a message to this boot under this bundle, found one that does not open")]
    Foreign,
    /// Nothing can be of a root that there is not.
    #[error("expected a bundle with a root, found one without")]
    NoRoot,
    /// It opened, and holds something that this version does not know.
    #[error("expected a share or a root of format 1, found something else")]
    Contents,
}

/// Seals to the boot that holds `key`.
///
/// # Errors
/// [`SealError::Key`].
pub fn seal(
    key: &Digest,
    binding: &Binding<'_>,
    contents: &Contents,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, SealError> {
    let key = <Kem as hpke::Kem>::PublicKey::from_bytes(&key.0).map_err(|_| SealError::Key)?;
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
        &OpModeS::Base,
        &key,
        &info(binding),
        &encode(contents),
        &binding.bundle.0,
        rng,
    )
    .map_err(|_| SealError::Key)?;
    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens what was sealed to this boot.
///
/// # Errors
/// [`SealError::Foreign`] or [`SealError::Contents`].
pub fn open(key: &BootKey, binding: &Binding<'_>, message: &[u8]) -> Result<Contents, SealError> {
    let (encapsulated, ciphertext) =
        message.split_at_checked(ENCAPSULATED_BYTES).ok_or(SealError::Foreign)?;
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated)
        .map_err(|_| SealError::Foreign)?;
    let plaintext = single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &OpModeR::Base,
        &key.secret,
        &encapsulated,
        &info(binding),
        ciphertext,
        &binding.bundle.0,
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::Foreign)?;
    decode(&plaintext)
}

fn info(binding: &Binding<'_>) -> Zeroizing<Vec<u8>> {
    let namespace = binding.namespace.as_str().as_bytes();
    preimage("share", &[namespace, &binding.root_section.0, binding.ek.as_bytes()])
}

/// u16 format, u8 kind (1 share, 2 root, 3 root and pending root), then the secrets.
fn encode(contents: &Contents) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(3 + 64));
    out.extend_from_slice(&FORMAT.to_be_bytes());
    match contents {
        Contents::Share(share) => {
            out.push(1);
            out.extend_from_slice(share.expose_bytes());
        }
        Contents::Root { root, pending } => {
            out.push(if pending.is_some() { 3 } else { 2 });
            out.extend_from_slice(root.as_slice());
            if let Some(pending) = pending {
                out.extend_from_slice(pending.as_slice());
            }
        }
    }
    out
}

fn decode(plaintext: &[u8]) -> Result<Contents, SealError> {
    let (format, rest) = plaintext.split_first_chunk().ok_or(SealError::Contents)?;
    let (kind, rest) = rest.split_first().ok_or(SealError::Contents)?;
    let secret = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map(Zeroizing::new);
    match (u16::from_be_bytes(*format), kind, rest.len()) {
        (FORMAT, 1, SHARE_BYTES) => {
            Share::from_bytes(rest).map(Contents::Share).map_err(|_| SealError::Contents)
        }
        (FORMAT, 2, 32) | (FORMAT, 3, 64) => {
            let (root, pending) = rest.split_at(32);
            let root = secret(root).map_err(|_| SealError::Contents)?;
            let pending = (*kind == 3).then(|| secret(pending)).transpose();
            let pending = pending.map_err(|_| SealError::Contents)?;
            Ok(Contents::Root { root, pending })
        }
        _ => Err(SealError::Contents),
    }
}

#[cfg(test)]
mod tests;
