//! Shamir's scheme over GF(2^8): k shares give the root, k - 1 say nothing about it.
//!
//! The polynomial is derived from the root, so that a box can make the
//! same shares again and compare their commitments: a mix of two runs is refused. All arithmetic
//! takes the same time for every value.

use std::vec::Vec;

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    bundle::body::{Asked, Custodian, Recipient, RootSection},
    digest::{Digest, derive, tagged},
    genesis, limits,
};

/// Bytes of a share: x-coordinate, then one byte for each of the root's.
pub const SHARE_BYTES: usize = 33;

/// One custodian's share. Secret: no Clone, Debug, PartialEq or Serialize; wiped on drop.
pub struct Share(Zeroizing<[u8; SHARE_BYTES]>);

/// Why shares do not make a root, or a root no shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// Threshold and number of custodians do not fit each other.
    #[error("expected a threshold of 1 to the number of custodians, and at most 16 of them")]
    Threshold,
    /// A share with x-coordinate 0 would be the root itself.
    #[error("expected a share of 33 bytes with an index from 1, found another")]
    Malformed,
    /// The same x-coordinate twice.
    #[error("expected shares of different custodians, found one twice")]
    Repeated,
    /// No share at all.
    #[error("expected at least one share")]
    None,
}

impl Share {
    /// Takes a share's bytes.
    ///
    /// # Errors
    /// [`SplitError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SplitError> {
        let bytes: &[u8; SHARE_BYTES] = bytes.try_into().map_err(|_| SplitError::Malformed)?;
        if bytes[0] == 0 { Err(SplitError::Malformed) } else { Ok(Self(Zeroizing::new(*bytes))) }
    }

    /// Its x-coordinate: position of its custodian, from 1.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.0[0]
    }

    /// Its bytes, to be encrypted to a custodian or to a boot and nowhere else.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; SHARE_BYTES] {
        &self.0
    }

    /// Its custodian's acknowledgement (public).
    #[must_use]
    pub fn ack(&self) -> Digest {
        genesis::ack(self.expose_bytes())
    }

    /// What the box publishes before its custodian answered (public).
    #[must_use]
    pub fn commitment(&self) -> Digest {
        genesis::commitment(&self.ack())
    }
}

/// Splits a root as genesis is asked to: the same arguments always give the same shares.
///
/// # Errors
/// [`SplitError::Threshold`].
pub fn split(root: &[u8; 32], asked: &Asked<'_>) -> Result<Vec<Share>, SplitError> {
    let count = asked.custodians.len();
    if asked.threshold == 0 || usize::from(asked.threshold) > count || count > limits::CUSTODIANS {
        return Err(SplitError::Threshold);
    }
    let holders = custodians_digest(asked.custodians);
    let coefficients: Vec<Zeroizing<[u8; 32]>> = (1..asked.threshold)
        .map(|power| {
            let parts: [&[u8]; 5] = [
                &asked.generation.to_be_bytes(),
                &asked.split.to_be_bytes(),
                &[asked.threshold],
                &holders.0,
                &[power],
            ];
            derive(root, "split", &parts)
        })
        .collect();
    Ok((1..=u8::try_from(count).unwrap_or(u8::MAX))
        .map(|x| {
            let mut share = Zeroizing::new([0; SHARE_BYTES]);
            share[0] = x;
            // Horner's rule, highest power first.
            for coefficient in coefficients.iter().rev().map(|c| &**c).chain([root]) {
                for (y, c) in share[1..].iter_mut().zip(coefficient) {
                    *y = multiply(*y, x) ^ c;
                }
            }
            Share(share)
        })
        .collect())
}

/// Interpolates at 0. Fewer than k shares, or shares of two splits, give another value: whoever
/// calls compares the root's fingerprint.
///
/// # Errors
/// No share, or the same index twice.
pub fn combine(shares: &[Share]) -> Result<Zeroizing<[u8; 32]>, SplitError> {
    if shares.is_empty() {
        return Err(SplitError::None);
    }
    let mut root = Zeroizing::new([0; 32]);
    for (at, share) in shares.iter().enumerate() {
        let mut weight = 1;
        for (other_at, other) in shares.iter().enumerate() {
            if other_at != at {
                if other.index() == share.index() {
                    return Err(SplitError::Repeated);
                }
                let difference = other.index() ^ share.index();
                weight = multiply(weight, multiply(other.index(), invert(difference)));
            }
        }
        for (byte, y) in root.iter_mut().zip(&share.expose_bytes()[1..]) {
            *byte ^= multiply(*y, weight);
        }
        weight.zeroize();
    }
    Ok(root)
}

impl RootSection {
    /// How the established root was split; `None`: there is none yet.
    #[must_use]
    pub fn established_split(&self) -> Option<Asked<'_>> {
        self.established.as_ref().map(|root| Asked {
            generation: root.generation,
            fresh: false,
            custodians: &self.custodians,
            threshold: self.threshold,
            split: self.split,
        })
    }
}

impl Recipient {
    /// Kind (1: age X25519), then the key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::AgeX25519(key) => [&[1], key.as_slice()].concat(),
        }
    }
}

/// Who holds the shares, in share order.
#[must_use]
pub fn custodians_digest(custodians: &[Custodian]) -> Digest {
    let recipients: Vec<Vec<u8>> =
        custodians.iter().map(|custodian| custodian.recipient.to_bytes()).collect();
    let parts: Vec<&[u8]> = custodians
        .iter()
        .zip(&recipients)
        .flat_map(|(custodian, recipient)| [custodian.name.as_str().as_bytes(), recipient])
        .collect();
    tagged("custodians", &parts)
}

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2), without branches.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    let mut bit = 0;
    while bit < 8 {
        product ^= (b & 1).wrapping_neg() & a;
        a = (a << 1) ^ ((a >> 7).wrapping_neg() & 0x1b);
        b >>= 1;
        bit += 1;
    }
    product
}

/// a^254, the inverse of every a but 0.
const fn invert(a: u8) -> u8 {
    let mut power = a;
    let mut product = 1;
    let mut bit = 1;
    while bit < 8 {
        power = multiply(power, power);
        product = multiply(product, power);
        bit += 1;
    }
    product
}

#[cfg(test)]
mod tests;
