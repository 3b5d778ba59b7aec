//! An older root, encrypted under its successor: the one secret in a bundle.

use casemate_formats::{
    bundle::body::Label,
    digest::{self, Digest},
};
use zeroize::Zeroizing;

use super::{Root, fingerprint};
use crate::keyring::cipher::{TAG_BYTES, Xaes};

/// First byte: this format.
const FORMAT: u8 = 1;

/// Bytes of the nonce that [`wrap`] wants from the machine's generator.
pub const NONCE_BYTES: usize = crate::keyring::cipher::NONCE_BYTES;

/// `format u8 | fingerprint of the older root | nonce | encrypted root | tag`: 105 bytes.
pub type Wrapped = Vec<u8>;

const SIZE: usize = 1 + 32 + NONCE_BYTES + 32 + TAG_BYTES;

/// Encrypts `older` (of `generation`) under `newer` (of `generation + 1`).
#[must_use]
pub fn wrap(
    older: &Root,
    newer: &Root,
    generation: u32,
    namespace: &Label,
    nonce: [u8; NONCE_BYTES],
) -> Wrapped {
    let fingerprint = fingerprint(older, generation, namespace);
    let mut secret = Zeroizing::new(*older.expose_bytes());
    let aad = aad(&fingerprint, generation, namespace);
    let tag = cipher(newer).seal(&nonce, &aad, secret.as_mut());
    let mut out = Vec::with_capacity(SIZE);
    out.push(FORMAT);
    out.extend_from_slice(&fingerprint.0);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(secret.as_ref());
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`wrap`] made and checks the fingerprint of what came out; `None`: it is not the root
/// of `generation`, or `newer` is not its successor.
#[must_use]
pub fn unwrap(wrapped: &[u8], newer: &Root, generation: u32, namespace: &Label) -> Option<Root> {
    let wrapped: &[u8; SIZE] = wrapped.try_into().ok()?;
    let (format, rest) = wrapped.split_first()?;
    let (stated, rest) = rest.split_first_chunk::<32>()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let (secret, tag) = rest.split_first_chunk::<32>()?;
    let tag: &[u8; TAG_BYTES] = tag.try_into().ok()?;
    if *format != FORMAT {
        return None;
    }
    let stated = Digest(*stated);
    let mut secret = Zeroizing::new(*secret);
    let aad = aad(&stated, generation, namespace);
    cipher(newer).open(nonce, &aad, secret.as_mut(), tag).ok()?;
    let root = Root::from_random(secret);
    (fingerprint(&root, generation, namespace) == stated).then_some(root)
}

fn cipher(newer: &Root) -> Xaes {
    Xaes::new(&digest::derive(newer.expose_bytes(), "wrap", &[]))
}

fn aad(fingerprint: &Digest, generation: u32, namespace: &Label) -> Zeroizing<Vec<u8>> {
    let name = namespace.as_str().as_bytes();
    digest::preimage("wrap", &[name, &generation.to_be_bytes(), &fingerprint.0])
}
