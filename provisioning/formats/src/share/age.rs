//! The age v1 file format (C2SP age), as far as the firmware writes it: one X25519 recipient, no
//! armour. Reading is the tool's matter, where identities and plugins live.

use std::vec::Vec;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// First line of every file.
const VERSION_LINE: &str = "age-encryption.org/v1\n";
/// Label under which the file key is wrapped.
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes of plaintext in each chunk of the payload.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a file cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AgeError {
    /// The recipient is a point of low order: everybody could read the file.
    #[error("expected an age X25519 recipient, found a point of low order")]
    Recipient,
    /// Not a recipient's text form.
    #[error("expected a recipient age1… (X25519), found other text")]
    Text,
}

/// Encrypts `plaintext` to one X25519 recipient. `rng` gives file key, ephemeral key and nonce.
///
/// # Errors
/// [`AgeError::Recipient`].
pub fn encrypt(
    recipient: &[u8; 32],
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, AgeError> {
    let mut file_key = Zeroizing::new([0; 16]);
    rng.fill_bytes(file_key.as_mut());
    let mut ephemeral = Zeroizing::new([0; 32]);
    rng.fill_bytes(ephemeral.as_mut());
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);

    let ephemeral = StaticSecret::from(*ephemeral);
    let ephemeral_share = PublicKey::from(&ephemeral);
    let shared = ephemeral.diffie_hellman(&PublicKey::from(*recipient));
    if !shared.was_contributory() {
        return Err(AgeError::Recipient);
    }
    let salt = [ephemeral_share.as_bytes().as_slice(), recipient].concat();
    let wrap_key = expand(&salt, shared.as_bytes(), X25519_LABEL);
    let body = seal(&wrap_key, [0; 12], file_key.as_slice());

    let mut file = format!(
        "{VERSION_LINE}-> X25519 {}\n{}\n---",
        STANDARD_NO_PAD.encode(ephemeral_share.as_bytes()),
        STANDARD_NO_PAD.encode(body),
    )
    .into_bytes();
    let mac_key = expand(&[], file_key.as_slice(), b"header");
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(mac_key.as_slice())
        .expect("HMAC takes keys of any length");
    mac.update(&file);
    file.push(b' ');
    file.extend_from_slice(STANDARD_NO_PAD.encode(mac.finalize().into_bytes()).as_bytes());
    file.push(b'\n');

    file.extend_from_slice(&nonce);
    let payload_key = expand(&nonce, file_key.as_slice(), b"payload");
    file.extend_from_slice(&stream(&payload_key, plaintext));
    Ok(file)
}

/// STREAM: chunks of 64 KiB, each under an 88-bit counter and a flag that marks the last one.
fn stream(key: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    let chunks = plaintext.len().div_ceil(CHUNK_BYTES).max(1);
    let mut out = Vec::with_capacity(plaintext.len() + chunks * 16);
    for at in 0..chunks {
        let start = at * CHUNK_BYTES;
        let end = plaintext.len().min(start + CHUNK_BYTES);
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&(at as u64).to_be_bytes());
        nonce[11] = u8::from(at + 1 == chunks);
        out.extend_from_slice(&seal(key, nonce, &plaintext[start..end]));
    }
    out
}

fn seal(key: &[u8; 32], nonce: [u8; 12], plaintext: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.into())
        .encrypt(&nonce.into(), Payload { msg: plaintext, aad: &[] })
        .expect("chunks are far below the cipher's limit")
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(info, out.as_mut())
        .expect("32 bytes are within HKDF's limit of 255 blocks");
    out
}

/// The 32 bytes behind `age1…` (Bech32 of BIP 173, human-readable part `age`).
///
/// # Errors
/// [`AgeError::Text`].
pub fn parse_recipient(text: &str) -> Result<[u8; 32], AgeError> {
    let data = text.strip_prefix("age1").ok_or(AgeError::Text)?;
    let values: Vec<u8> = data
        .bytes()
        .map(|b| BECH32.iter().position(|known| *known == b).and_then(|v| u8::try_from(v).ok()))
        .collect::<Option<_>>()
        .ok_or(AgeError::Text)?;
    // 52 groups of five bits hold 32 bytes and four zero bits; six more are the checksum.
    let (payload, _) = values.split_at_checked(52).ok_or(AgeError::Text)?;
    if values.len() != 58 || checksum(&values) != 1 || payload[51] & 0x0f != 0 {
        return Err(AgeError::Text);
    }
    let bit = |at: usize| payload[at / 5] >> (4 - at % 5) & 1;
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = (0..8).fold(0, |byte, offset| byte << 1 | bit(8 * at + offset));
    }
    Ok(key)
}

/// The text form of a recipient, `age1…`.
#[must_use]
pub fn format_recipient(key: &[u8; 32]) -> String {
    let bit = |at: usize| key.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let mut values: Vec<u8> = (0..52)
        .map(|at| (0..5).fold(0, |value, offset| value << 1 | bit(5 * at + offset)))
        .collect();
    let unfinished: Vec<u8> = values.iter().copied().chain([0; 6]).collect();
    let sum = checksum(&unfinished) ^ 1;
    values.extend((0..6).map(|at| u8::try_from(sum >> (5 * (5 - at)) & 31).unwrap_or(0)));
    let text = values.iter().map(|value| char::from(BECH32[usize::from(*value)]));
    "age1".chars().chain(text).collect()
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Bech32's polymod over the expanded human-readable part `age` and `values`; 1 for a whole string.
fn checksum(values: &[u8]) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let prefix = b"age".iter().map(|c| c >> 5).chain([0]).chain(b"age".iter().map(|c| c & 31));
    prefix.chain(values.iter().copied()).fold(1, |sum, value| {
        let top = sum >> 25;
        GENERATOR.iter().enumerate().fold(
            (sum & 0x01ff_ffff) << 5 ^ u32::from(value),
            |sum, (at, generator)| {
                if top >> at & 1 == 1 { sum ^ generator } else { sum }
            },
        )
    })
}

#[cfg(test)]
mod tests;
