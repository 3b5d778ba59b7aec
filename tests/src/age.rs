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
        let own = PublicKey::from(&self.0).to_bytes();
        let shared = self.0.diffie_hellman(&PublicKey::from(share));
        let salt = [share, own].concat();
        let wrap = expand(&salt, shared.as_bytes(), b"age-encryption.org/v1/X25519")?;
        let file_key = open(&wrap, [0; 12], &body)?;
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
