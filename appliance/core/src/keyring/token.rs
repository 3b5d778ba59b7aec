//! The token: what an application stores in place of a value.
//! `cm1.<keyring>.<version>.<base64url of day u16 | nonce | ciphertext | tag>`

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use casemate_formats::{bundle::body::Label, code::Cause, limits};

use super::cipher::{NONCE_BYTES, TAG_BYTES};

/// What every token starts with, and the first part of its AAD.
pub const PREFIX: &str = "cm1";

/// base64url without padding (RFC 4648 section 5); trailing bits must be zero.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD);
/// Day and nonce.
pub(super) const HEAD: usize = 2 + NONCE_BYTES;
/// The kind byte, encrypted, and the tag.
const LEAST: usize = HEAD + 1 + TAG_BYTES;
const MOST: usize = LEAST + limits::PLAINTEXT_BYTES;

/// Days since 1970-01-01, UTC; the last one is in the year 2149.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u16);

impl Day {
    /// The day of a time in Unix seconds.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        let days = seconds / 86_400;
        #[expect(clippy::cast_possible_truncation, reason = "compared first")]
        if days > u16::MAX as u64 { Self(u16::MAX) } else { Self(days as u16) }
    }
}

/// A token whose text is well-formed. Whether it decrypts is the keyring's to say.
pub struct Token {
    pub(super) keyring: Label,
    pub(super) version: u32,
    /// Day, nonce, ciphertext, tag.
    pub(super) body: Vec<u8>,
}

impl Token {
    /// Reads a token's text; there is one text for each token.
    ///
    /// # Errors
    /// [`Cause::TokenMalformed`].
    pub fn parse(text: &str) -> Result<Self, Cause> {
        Self::read(text).ok_or(Cause::TokenMalformed)
    }

    fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let (keyring, rest) = rest.split_once('.')?;
        let (version, body) = rest.split_once('.')?;
        if body.len() > MOST.div_ceil(3) * 4 {
            return None;
        }
        let body = BASE64URL.decode(body).ok()?;
        let sound = (LEAST..=MOST).contains(&body.len());
        sound.then_some(())?;
        Some(Self { keyring: Label::parse(keyring)?, version: number(version)?, body })
    }

    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(48 + self.body.len().div_ceil(3) * 4);
        out.push_str(PREFIX);
        out.push('.');
        out.push_str(self.keyring.as_str());
        out.push('.');
        out.push_str(&self.version.to_string());
        out.push('.');
        BASE64URL.encode_string(&self.body, &mut out);
        out
    }

    /// Which keyring it says it is of.
    #[must_use]
    pub fn keyring(&self) -> &str {
        self.keyring.as_str()
    }

    /// Which version of its key it says it is of.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it says it was made; true once it decrypted.
    #[must_use]
    pub fn day(&self) -> Day {
        let day = self.body.first_chunk().copied().unwrap_or_default();
        Day(u16::from_be_bytes(day))
    }
}

/// A canonical decimal number from 1.
fn number(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    canonical.then(|| text.parse().ok()).flatten()
}
