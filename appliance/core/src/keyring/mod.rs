//! Keys and tokens: derivation, XAES-256-GCM, what an application stores. Works only on a `Permit`;
//! randomness and the day come in as arguments.

use casemate_formats::{api::Context, bundle::Bundle, code::Cause, limits};
use zeroize::Zeroizing;

use crate::{
    policy::{OnCanary, Operation, Permit},
    root::{Chain, Purpose},
};

pub mod cipher;
mod token;

pub use cipher::NONCE_BYTES;
pub use token::{Day, PREFIX, Token};

use cipher::{TAG_BYTES, Xaes};

/// The first encrypted byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// A value of the application's.
    Record = 0,
    /// A token for a thief to find.
    Canary = 1,
}

/// Every keyring's keys under one bundle. Made anew when a bundle is accepted.
pub struct Keyrings {
    /// By ascending name, as in the bundle.
    rings: Box<[Ring]>,
}

struct Ring {
    name: casemate_formats::bundle::body::Label,
    first_version: u32,
    /// Version v is `keys[v - first_version]`; the last one encrypts.
    keys: Box<[Xaes]>,
}

/// A plaintext, wiped on drop.
pub struct Plaintext {
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
}

impl Plaintext {
    /// The value, to be answered and nothing else.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// What else has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A canary was touched: do this, and give out no plaintext of the whole request.
    Canary(OnCanary),
}

/// What became of a decrypt.
pub struct Opened {
    /// The value, or why not: the client is told `cause.code()` alone, the audit log the cause.
    pub outcome: Result<Plaintext, Cause>,
    /// What else has to be done.
    pub effect: Effect,
}

impl Keyrings {
    /// Derives every version's key.
    ///
    /// # Errors
    /// A version is of a generation that the chain has not, or beyond the last number (`None`): such
    /// a bundle is not accepted.
    #[must_use]
    pub fn new(bundle: &Bundle, chain: &Chain) -> Option<Self> {
        let rings = bundle.service.keyrings.iter().map(|keyring| {
            let name = keyring.name.as_str().as_bytes();
            let keys = keyring.versions.iter().zip(0..).map(|(generation, offset)| {
                let version = keyring.first_version.checked_add(offset)?;
                let parts: [&[u8]; 2] = [name, &version.to_be_bytes()];
                Some(Xaes::new(&*chain.derive(*generation, Purpose::Key, &parts)?))
            });
            Some(Ring {
                name: keyring.name.clone(),
                first_version: keyring.first_version,
                keys: keys.collect::<Option<_>>()?,
            })
        });
        Some(Self { rings: rings.collect::<Option<_>>()? })
    }

    /// Encrypts under the newest version, then decrypts its own output before it gives it out.
    ///
    /// # Errors
    /// [`Cause::ValueTooLarge`]; [`Cause::SelfCheck`] when the machine computed wrongly.
    pub fn encrypt(
        &self,
        permit: &Permit<'_>,
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
        day: Day,
    ) -> Result<Token, Cause> {
        if permit.operation() != Operation::Encrypt {
            return Err(Cause::NoRole);
        }
        self.make(permit, Kind::Record, plaintext, nonce, day)
    }

    fn make(
        &self,
        permit: &Permit<'_>,
        kind: Kind,
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
        day: Day,
    ) -> Result<Token, Cause> {
        if plaintext.len() > limits::PLAINTEXT_BYTES {
            return Err(Cause::ValueTooLarge);
        }
        let ring = self.ring(permit.keyring()).ok_or(Cause::NoRole)?;
        let (version, key) = ring.newest().ok_or(Cause::NoRole)?;
        let aad = aad(permit.keyring(), version, day, permit.context());
        let mut body = Vec::with_capacity(token::HEAD + 1 + plaintext.len() + TAG_BYTES);
        body.extend_from_slice(&day.0.to_be_bytes());
        body.extend_from_slice(&nonce);
        body.push(kind as u8);
        body.extend_from_slice(plaintext);
        let tag = key.seal(&nonce, &aad, &mut body[token::HEAD..]);
        body.extend_from_slice(&tag);
        let token = Token { keyring: ring.name.clone(), version, body };
        // A fault in memory or in the processor must not reach the application's database.
        let check = Token { body: token.body.clone(), keyring: ring.name.clone(), version };
        match open(key, check.body, &aad) {
            Ok((found, value)) if found == kind as u8 && value.expose_bytes() == plaintext => {
                Ok(token)
            }
            _ => Err(Cause::SelfCheck),
        }
    }

    /// Decrypts. The permit must be for the token's keyring.
    #[must_use]
    pub fn decrypt(&self, permit: &Permit<'_>, token: Token) -> Opened {
        let failed = |cause| Opened { outcome: Err(cause), effect: Effect::None };
        if permit.operation() != Operation::Decrypt || permit.keyring() != token.keyring() {
            return failed(Cause::NoRole);
        }
        let Some(ring) = self.ring(permit.keyring()) else { return failed(Cause::NoRole) };
        let Some(key) = ring.version(token.version) else { return failed(Cause::TokenVersion) };
        let aad = aad(permit.keyring(), token.version, token.day(), permit.context());
        match open(key, token.body, &aad) {
            Err(cipher::Forged) => failed(Cause::TokenTag),
            Ok((kind, value)) if kind == Kind::Record as u8 => {
                Opened { outcome: Ok(value), effect: Effect::None }
            }
            Ok((kind, _)) if kind == Kind::Canary as u8 => {
                Opened { outcome: Err(Cause::Canary), effect: Effect::Canary(permit.on_canary()) }
            }
            Ok(_) => failed(Cause::TokenKind),
        }
    }

    fn ring(&self, name: &str) -> Option<&Ring> {
        let at = self.rings.binary_search_by(|ring| ring.name.as_str().cmp(name)).ok()?;
        self.rings.get(at)
    }
}

impl Ring {
    fn newest(&self) -> Option<(u32, &Xaes)> {
        let last = self.keys.len().checked_sub(1)?;
        let version = self.first_version.checked_add(u32::try_from(last).ok()?)?;
        Some((version, self.keys.get(last)?))
    }

    /// `None`: below the lowest version that decrypts, or not yet made.
    fn version(&self, version: u32) -> Option<&Xaes> {
        let index = version.checked_sub(self.first_version)?;
        self.keys.get(usize::try_from(index).ok()?)
    }
}

/// Opens a token's body in place: the kind and the value.
fn open(key: &Xaes, body: Vec<u8>, aad: &[u8]) -> Result<(u8, Plaintext), cipher::Forged> {
    let mut buffer = Zeroizing::new(body);
    let end = buffer.len().checked_sub(TAG_BYTES).ok_or(cipher::Forged)?;
    let (rest, tag) = buffer.split_at_mut_checked(end).ok_or(cipher::Forged)?;
    let (head, text) = rest.split_at_mut_checked(token::HEAD).ok_or(cipher::Forged)?;
    let nonce = head.last_chunk::<NONCE_BYTES>().ok_or(cipher::Forged)?;
    let tag = tag.first_chunk::<TAG_BYTES>().ok_or(cipher::Forged)?;
    key.open(nonce, aad, text, tag)?;
    let kind = *text.first().ok_or(cipher::Forged)?;
    buffer.truncate(end);
    Ok((kind, Plaintext { buffer, start: token::HEAD + 1 }))
}

/// What a token is bound to: prefix, keyring, version, day, and every context pair by ascending
/// name, each with its length as u32 big-endian before it.
fn aad(keyring: &str, version: u32, day: Day, context: &Context) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + context.as_bytes().len());
    let parts: [&[u8]; 4] =
        [PREFIX.as_bytes(), keyring.as_bytes(), &version.to_be_bytes(), &day.0.to_be_bytes()];
    for part in parts {
        let length = u32::try_from(part.len()).expect("names and numbers are short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(context.as_bytes());
    out
}

#[cfg(test)]
mod tests;
