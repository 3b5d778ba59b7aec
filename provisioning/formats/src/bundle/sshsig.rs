//! SSH signatures (OpenSSH PROTOCOL.sshsig) by Ed25519 and ECDSA P-256 keys and their FIDO forms
//! (PROTOCOL.u2f, user presence required). Reads what `ssh-keygen -Y sign` writes.

use ed25519_dalek::VerifyingKey as Ed25519Key;
use p256::ecdsa::{VerifyingKey as P256Key, signature::Verifier as _};
use sha2::{Digest as _, Sha256, Sha512};
use thiserror::Error;

/// First bytes of a signature and of what is signed.
const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
/// FIDO flag: somebody touched the token (U2F raw message formats, section 5.4).
const USER_PRESENT: u8 = 0x01;

/// Why an SSH signature or key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SshError {
    /// Not the bytes of a signature or key, or some left over.
    #[error("expected an SSH signature or public key, found other bytes")]
    Malformed,
    /// A key type, curve or hash that Casemate does not take.
    #[error(
        "expected Ed25519 or ECDSA P-256 (sk forms included) with sha256 or sha512, found another algorithm"
    )]
    Algorithm,
    /// Made for something else.
    #[error("expected this signature namespace, found another")]
    Namespace,
    /// A FIDO signature without a touch.
    #[error("expected a FIDO signature with user presence, found one without")]
    Presence,
    /// The signature does not hold.
    #[error("expected a signature over these bytes by that key, found one that does not hold")]
    Signature,
}

/// A parsed signature, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sshsig<'a> {
    public_key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Sshsig<'a> {
    /// Reads a binary SSHSIG blob, all of it.
    ///
    /// # Errors
    /// [`SshError::Malformed`].
    pub fn parse(blob: &'a [u8]) -> Result<Self, SshError> {
        let mut rest = blob.strip_prefix(MAGIC).ok_or(SshError::Malformed)?;
        if take_u32(&mut rest)? != VERSION {
            return Err(SshError::Malformed);
        }
        let parsed = Self {
            public_key: take_string(&mut rest)?,
            namespace: take_string(&mut rest)?,
            reserved: take_string(&mut rest)?,
            hash: take_string(&mut rest)?,
            signature: take_string(&mut rest)?,
        };
        if rest.is_empty() { Ok(parsed) } else { Err(SshError::Malformed) }
    }

    /// The signer's public key blob (RFC 4253, section 6.6), as the signature names it.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.public_key
    }

    /// Verifies that its key signed `message` for `namespace`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, namespace: &str, message: &[u8]) -> Result<(), SshError> {
        if self.namespace != namespace.as_bytes() {
            return Err(SshError::Namespace);
        }
        let digest = match self.hash {
            b"sha256" => Sha256::digest(message).to_vec(),
            b"sha512" => Sha512::digest(message).to_vec(),
            _ => return Err(SshError::Algorithm),
        };
        let mut signed = MAGIC.to_vec();
        for part in [self.namespace, self.reserved, self.hash, &digest] {
            put_string(&mut signed, part);
        }
        PublicKey::parse(self.public_key)?.verify(self.signature, &signed)
    }
}

/// A public key that may sign bundles and orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey<'a> {
    kind: &'static str,
    curve: Curve,
    /// The FIDO application, for the sk forms.
    application: Option<&'a [u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Curve {
    Ed25519(Ed25519Key),
    P256(P256Key),
}

/// The key types of PROTOCOL and PROTOCOL.u2f that Casemate takes.
const ED25519: &str = "ssh-ed25519";
const ECDSA: &str = "ecdsa-sha2-nistp256";
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

impl<'a> PublicKey<'a> {
    /// Reads a public key blob, all of it.
    ///
    /// # Errors
    /// Not a key, or not one of the four types.
    pub fn parse(blob: &'a [u8]) -> Result<Self, SshError> {
        let mut rest = blob;
        let kind = take_string(&mut rest)?;
        let kind = [ED25519, ECDSA, SK_ED25519, SK_ECDSA]
            .into_iter()
            .find(|known| known.as_bytes() == kind)
            .ok_or(SshError::Algorithm)?;
        let curve = match kind {
            ED25519 | SK_ED25519 => {
                let bytes = take_string(&mut rest)?.try_into().map_err(|_| SshError::Malformed)?;
                Ed25519Key::from_bytes(bytes)
                    .map(Curve::Ed25519)
                    .map_err(|_| SshError::Malformed)?
            }
            _ => {
                if take_string(&mut rest)? != b"nistp256" {
                    return Err(SshError::Algorithm);
                }
                let point = take_string(&mut rest)?;
                P256Key::from_sec1_bytes(point).map(Curve::P256).map_err(|_| SshError::Malformed)?
            }
        };
        let application = match kind {
            SK_ED25519 | SK_ECDSA => Some(take_string(&mut rest)?),
            _ => None,
        };
        if rest.is_empty() {
            Ok(Self { kind, curve, application })
        } else {
            Err(SshError::Malformed)
        }
    }

    /// Its SSH type, as the first word of a public key file.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    fn verify(&self, signature: &[u8], signed: &[u8]) -> Result<(), SshError> {
        let mut rest = signature;
        if take_string(&mut rest)? != self.kind.as_bytes() {
            return Err(SshError::Malformed);
        }
        let value = take_string(&mut rest)?;
        let mut fido = Vec::new();
        if let Some(application) = self.application {
            let [flags] = take(&mut rest)?;
            let counter: [u8; 4] = take(&mut rest)?;
            if flags & USER_PRESENT == 0 {
                return Err(SshError::Presence);
            }
            fido.extend_from_slice(&Sha256::digest(application));
            fido.push(flags);
            fido.extend_from_slice(&counter);
            fido.extend_from_slice(&Sha256::digest(signed));
        }
        if !rest.is_empty() {
            return Err(SshError::Malformed);
        }
        let message = if self.application.is_some() { &fido } else { signed };
        match &self.curve {
            Curve::Ed25519(key) => {
                let bytes: &[u8; 64] = value.try_into().map_err(|_| SshError::Malformed)?;
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes))
                    .map_err(|_| SshError::Signature)
            }
            Curve::P256(key) => {
                key.verify(message, &ecdsa_signature(value)?).map_err(|_| SshError::Signature)
            }
        }
    }
}

/// Two SSH mpints, r and s (RFC 5656, section 3.1.2).
fn ecdsa_signature(value: &[u8]) -> Result<p256::ecdsa::Signature, SshError> {
    let mut rest = value;
    let r = scalar(take_string(&mut rest)?)?;
    let s = scalar(take_string(&mut rest)?)?;
    if !rest.is_empty() {
        return Err(SshError::Malformed);
    }
    p256::ecdsa::Signature::from_scalars(r, s).map_err(|_| SshError::Malformed)
}

/// A non-negative mpint of at most 256 bits, left-padded (RFC 4251, section 5: shortest form).
fn scalar(mpint: &[u8]) -> Result<[u8; 32], SshError> {
    let magnitude = match mpint {
        [0, high, ..] if *high >= 0x80 => &mpint[1..],
        [high, ..] if (1..0x80).contains(high) => mpint,
        _ => return Err(SshError::Malformed),
    };
    let mut out = [0; 32];
    let start = out.len().checked_sub(magnitude.len()).ok_or(SshError::Malformed)?;
    out[start..].copy_from_slice(magnitude);
    Ok(out)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SshError> {
    let (taken, after) = rest.split_first_chunk().ok_or(SshError::Malformed)?;
    *rest = after;
    Ok(*taken)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, SshError> {
    take(rest).map(u32::from_be_bytes)
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SshError> {
    let length = usize::try_from(take_u32(rest)?).map_err(|_| SshError::Malformed)?;
    let (taken, after) = rest.split_at_checked(length).ok_or(SshError::Malformed)?;
    *rest = after;
    Ok(taken)
}

/// Appends an SSH string (RFC 4251, section 5): u32 length, bytes.
fn put_string(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
