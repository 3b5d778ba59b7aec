//! An age identity (X25519) for tests, and the decryption of what the firmware writes, independent
//! of both firmware and tool.

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use casemate_formats::bundle::body::Recipient;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

/// A custodian's identity.
pub struct AgeIdentity(StaticSecret);

impl AgeIdentity {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(StaticSecret::from(secret))
    }

    /// As a bundle lists it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient::AgeX25519(PublicKey::from(&self.0).to_bytes())
    }

    /// As an identity file of the plugin `token` names it (Bech32 of BIP 173, upper case): this
    /// package's `age-plugin-token` is a token in software.
    #[must_use]
    pub fn as_token(&self) -> String {
        bech32("age-plugin-token-", &self.0.to_bytes()).to_uppercase()
    }

    /// What [`Self::as_token`] gave.
    #[must_use]
    pub fn from_token(text: &str) -> Option<Self> {
        let data = text.to_lowercase();
        let data = data.strip_prefix("age-plugin-token-1")?;
        let values: Vec<u8> = data
            .bytes()
            .map(|b| BECH32.iter().position(|known| *known == b).and_then(|v| u8::try_from(v).ok()))
            .collect::<Option<_>>()?;
        let bit = |at: usize| values.get(at / 5).map_or(0, |value| value >> (4 - at % 5) & 1);
        let secret = std::array::from_fn(|byte| (0..8).fold(0, |v, b| v << 1 | bit(8 * byte + b)));
        Some(Self::new(secret))
    }

    /// The file key of an X25519 stanza: its argument and its body.
    ///
    /// # Errors
    /// It is not for this identity.
    pub fn file_key(&self, share: [u8; 32], body: &[u8]) -> Result<Vec<u8>> {
        let own = PublicKey::from(&self.0).to_bytes();
        let shared = self.0.diffie_hellman(&PublicKey::from(share));
        let salt = [share, own].concat();
        let wrap = expand(&salt, shared.as_bytes(), b"age-encryption.org/v1/X25519")?;
        open(&wrap, [0; 12], body)
    }

    /// Opens a file with one X25519 stanza and one chunk (C2SP age).
    ///
    /// # Errors
    /// It is not for this identity, or not such a file.
    pub fn decrypt(&self, file: &[u8]) -> Result<Vec<u8>> {
        let end = file.windows(5).position(|w| w == b"\n--- ").context("a header")?;
        let header = std::str::from_utf8(&file[..end])?;
        let mut lines = header.lines();
        ensure!(lines.next() == Some("age-encryption.org/v1"), "the version line");
        let share = lines.next().and_then(|line| line.strip_prefix("-> X25519 "));
        let share = STANDARD_NO_PAD.decode(share.context("an X25519 stanza")?)?;
        let share: [u8; 32] = share.try_into().map_err(|_| anyhow!("32 bytes"))?;
        let body = STANDARD_NO_PAD.decode(lines.next().context("a stanza body")?)?;
        let file_key = self.file_key(share, &body)?;
        let rest = &file[end + 5..];
        let payload = &rest[rest.iter().position(|b| *b == b'\n').context("a MAC")? + 1..];
        let (nonce, chunk) = payload.split_at_checked(16).context("a payload nonce")?;
        let key = expand(nonce, &file_key, b"payload")?;
        let mut last = [0; 12];
        last[11] = 1;
        open(&key, last, chunk)
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8]) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(Some(salt), secret);
    hkdf.expand(info, &mut out).map_err(|_| anyhow!("32 bytes"))?;
    Ok(out)
}

fn open(key: &[u8; 32], nonce: [u8; 12], sealed: &[u8]) -> Result<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt(&nonce.into(), sealed).map_err(|_| anyhow!("not for this identity"))
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Bech32 of BIP 173 without its limit of length, as age writes identities of plugins.
fn bech32(prefix: &str, data: &[u8]) -> String {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let bit = |at: usize| data.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let groups = (data.len() * 8).div_ceil(5);
    let mut values: Vec<u8> =
        (0..groups).map(|at| (0..5).fold(0, |v, b| v << 1 | bit(5 * at + b))).collect();
    let high = prefix.bytes().map(|c| c >> 5);
    let all = high.chain([0]).chain(prefix.bytes().map(|c| c & 31));
    let all = all.chain(values.iter().copied()).chain([0; 6]);
    let sum = 1 ^ all.fold(1_u32, |sum, value| {
        let top = sum >> 25;
        let start = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        (0..5).filter(|at| top >> at & 1 == 1).fold(start, |sum, at| sum ^ GENERATOR[at])
    });
    values.extend((0..6).map(|at| u8::try_from(sum >> (5 * (5 - at)) & 31).unwrap_or(0)));
    let text = values.iter().map(|value| char::from(BECH32[usize::from(*value)]));
    prefix.chars().chain(['1']).chain(text).collect()
}
