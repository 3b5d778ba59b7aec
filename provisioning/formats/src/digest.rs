//! Digests: the one way in which Casemate hashes (domain tag and length-prefixed parts), and how a
//! digest is shown to a person.

use core::fmt;

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A public SHA-256 value: 32 bytes, shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    /// Hex in JSON and TOML, 32 bytes in postcard.
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = String::deserialize(d)?;
            Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
        } else {
            <[u8; 32]>::deserialize(d).map(Self)
        }
    }
}

impl Digest {
    /// Thirty-two zero bytes: an unextended PCR.
    pub const ZERO: Self = Self([0; 32]);

    /// Plain SHA-256, for the formats of others (TPM, EFI, RFC 6962). Casemate's own use [`tagged`].
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest in groups of four hex digits, as an operator compares it: `3f2a 90c1 …` (16 groups).
    #[must_use]
    pub fn grouped(&self) -> String {
        group(&self.to_string())
    }

    /// The first eight groups (128 bits): enough to compare by eye on a console.
    #[must_use]
    pub fn short(&self) -> String {
        group(&self.to_string()[..32])
    }

    /// Parses 64 hex digits; spaces between groups are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
        Some(Self(parse_hex(&digits)?.try_into().ok()?))
    }
}

fn group(hex: &str) -> String {
    let groups: Vec<&str> =
        hex.as_bytes().chunks(4).map(|c| core::str::from_utf8(c).unwrap_or_default()).collect();
    groups.join(" ")
}

/// Lower-case hex of any public bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}

/// Bytes of an even number of hex digits (either case), or `None`.
#[must_use]
pub fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |b: u8| (b as char).to_digit(16).and_then(|n| u8::try_from(n).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The name of an object in a TPM: u16 hash algorithm, then the digest of its public area
/// (TPM 2.0 Part 1, section 16). 34 bytes for SHA-256, 50 for SHA-384.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(heapless::Vec<u8, 50>);

impl Serialize for Name {
    /// Hex in JSON and TOML, counted bytes in postcard.
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = if d.is_human_readable() {
            parse_hex(String::deserialize(d)?.as_bytes()).and_then(|bytes| Self::new(&bytes))
        } else {
            Self::new(&heapless::Vec::<u8, 50>::deserialize(d)?)
        };
        name.ok_or_else(|| serde::de::Error::custom("expected a SHA-256 or SHA-384 TPM name"))
    }
}

impl Name {
    /// A name as the TPM gives it; `None` unless it is a SHA-256 (0x000B) or SHA-384 (0x000C) one.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        match (bytes.first_chunk::<2>()?, bytes.len()) {
            ([0, 0x0b], 34) | ([0, 0x0c], 50) => Some(Self(heapless::Vec::from_slice(bytes).ok()?)),
            _ => None,
        }
    }

    /// The bytes: algorithm and digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What operators compare on the console: the tagged SHA-256 of the name.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        tagged("fingerprint", &[b"name", &self.0])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// The preimage of everything Casemate hashes, MACs, signs or derives: for each part its length as
/// u32 big-endian, then its bytes; the first part is the domain tag `casemate.<what>.v1`.
#[must_use]
pub fn preimage(what: &str, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let tag = format!("casemate.{what}.v1");
    let mut out = Zeroizing::new(Vec::with_capacity(
        4 + tag.len() + parts.iter().map(|p| p.len() + 4).sum::<usize>(),
    ));
    for part in core::iter::once(tag.as_bytes()).chain(parts.iter().copied()) {
        let length = u32::try_from(part.len()).expect("parts are bounded far below 4 GiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// SHA-256 over [`preimage`].
#[must_use]
pub fn tagged(what: &str, parts: &[&[u8]]) -> Digest {
    Digest::sha256(&preimage(what, parts))
}

/// HKDF-SHA256 with an empty salt and [`preimage`] as info (RFC 5869): 32 secret bytes.
#[must_use]
pub fn derive(secret: &[u8; 32], what: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret)
        .expand(&preimage(what, parts), out.as_mut())
        .expect("32 bytes are within HKDF's limit of 255 blocks");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_shifted_across_their_border() {
        assert_ne!(tagged("x", &[b"ab", b"c"]), tagged("x", &[b"a", b"bc"]));
        assert_ne!(tagged("x", &[b""]), tagged("x", &[]));
    }

    fn expand(ikm: &[u8], salt: &[u8], info: &[u8], length: usize) -> String {
        let mut out = vec![0; length];
        Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut out).expect("short");
        hex(&out)
    }

    fn range(bytes: core::ops::RangeInclusive<u8>) -> Vec<u8> {
        bytes.collect()
    }

    #[test]
    fn rfc_5869_a_1_basic_sha_256() {
        let okm = expand(&[0x0b; 22], &range(0..=0x0c), &range(0xf0..=0xf9), 42);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                        34007208d5b887185865";
        assert_eq!(okm, expected);
    }

    #[test]
    fn rfc_5869_a_2_sha_256_with_longer_inputs() {
        let okm = expand(&range(0..=0x4f), &range(0x60..=0xaf), &range(0xb0..=0xff), 82);
        let expected = "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                        59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                        cc30c58179ec3e87c14c01d5c1f3434f1d87";
        assert_eq!(okm, expected);
    }

    #[test]
    fn rfc_5869_a_3_sha_256_without_salt_and_info() {
        let okm = expand(&[0x0b; 22], &[], &[], 42);
        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
                        9d201395faa4b61a96c8";
        assert_eq!(okm, expected);
    }

    #[test]
    fn a_digest_survives_its_grouped_text() {
        let digest = Digest::sha256(b"casemate");
        assert_eq!(Digest::parse(&digest.grouped()), Some(digest));
        assert_eq!(digest.short().len(), 8 * 4 + 7);
    }
}
