//! Public area of the attestation key, which signs nothing but what its TPM itself says.

use p256::ecdsa::VerifyingKey;
use sha2::{Digest as _, Sha256};

use super::wire::{Reader, Truncated};
use crate::digest::Name;

/// Object attributes (TPM 2.0 Part 2, 8.3).
mod attribute {
    pub const FIXED_TPM: u32 = 1 << 1;
    pub const FIXED_PARENT: u32 = 1 << 4;
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub const RESTRICTED: u32 = 1 << 16;
    pub const DECRYPT: u32 = 1 << 17;
    pub const SIGN: u32 = 1 << 18;
}

/// Algorithms and curves (TPM 2.0 Part 2, 6.3 and 6.4).
mod algorithm {
    pub const SHA256: u16 = 0x000b;
    pub const NULL: u16 = 0x0010;
    pub const ECDSA: u16 = 0x0018;
    pub const ECC: u16 = 0x0023;
    pub const P256: u16 = 0x0003;
}

/// TPM_RH_ENDORSEMENT: the parent of both keys.
const ENDORSEMENT: [u8; 4] = [0x40, 0, 0, 0x0b];

/// Why a TPMT_PUBLIC is not the key it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicError {
    /// It ends too early, or goes on.
    #[error("the public area is cut short or has trailing bytes")]
    Malformed,
    /// Not made from L-2 or H-3.
    #[error("the endorsement key was not made from the template L-2 (P-256) or H-3 (P-384)")]
    Template,
    /// Not an ECDSA P-256 key with SHA-256.
    #[error("the attestation key is not an ECDSA P-256 key for SHA-256")]
    Algorithm,
    /// Its attributes let it sign what the TPM did not say, or leave the TPM.
    #[error(
        "the attestation key's attributes are {0:#010x}: fixedTPM, fixedParent, \
             sensitiveDataOrigin, restricted and sign are needed, decrypt is not allowed"
    )]
    Attributes(u32),
    /// The point is not on the curve.
    #[error("the public point is not on its curve")]
    Point,
}

impl From<Truncated> for PublicError {
    fn from(_: Truncated) -> Self {
        Self::Malformed
    }
}

/// An attestation key: restricted, so that it signs only what its TPM made; bound to that TPM.
#[derive(Clone, Debug)]
pub struct AttestationKey {
    name: Name,
    key: VerifyingKey,
}

impl AttestationKey {
    /// Parses a TPMT_PUBLIC.
    ///
    /// # Errors
    /// Any [`PublicError`] but `Template`.
    pub fn parse(public: &[u8]) -> Result<Self, PublicError> {
        let mut reader = Reader::new(public);
        if (reader.u16()?, reader.u16()?) != (algorithm::ECC, algorithm::SHA256) {
            return Err(PublicError::Algorithm);
        }
        let attributes = reader.u32()?;
        let needed = attribute::FIXED_TPM
            | attribute::FIXED_PARENT
            | attribute::SENSITIVE_DATA_ORIGIN
            | attribute::RESTRICTED
            | attribute::SIGN;
        if attributes & (needed | attribute::DECRYPT) != needed {
            return Err(PublicError::Attributes(attributes));
        }
        let _policy = reader.sized()?;
        // TPMS_ECC_PARMS: no symmetric algorithm, ECDSA with SHA-256, P-256, no KDF.
        for expected in
            [algorithm::NULL, algorithm::ECDSA, algorithm::SHA256, algorithm::P256, algorithm::NULL]
        {
            if reader.u16()? != expected {
                return Err(PublicError::Algorithm);
            }
        }
        let (x, y) = (reader.sized()?, reader.sized()?);
        if !reader.is_empty() {
            return Err(PublicError::Malformed);
        }
        let key = VerifyingKey::from_sec1_bytes(&uncompressed(x, y, 32)?)
            .map_err(|_| PublicError::Point)?;
        Ok(Self { name: name_of(&sha256_name(public)), key })
    }

    /// Its Name, computed here.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Its qualified name as a primary key of the endorsement hierarchy (TPM 2.0 Part 1, 16.2):
    /// every attestation names its signer so.
    #[must_use]
    pub fn qualified_name(&self) -> Vec<u8> {
        sha256_name(&[&ENDORSEMENT[..], self.name.as_bytes()].concat())
    }

    pub(super) const fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

/// TPMs give coordinates in full length (TPM 2.0 Part 1, C.8); shorter ones would be another name for
/// the same key.
pub(super) fn uncompressed(x: &[u8], y: &[u8], coordinate: usize) -> Result<Vec<u8>, PublicError> {
    if x.len() != coordinate || y.len() != coordinate {
        return Err(PublicError::Point);
    }
    Ok([&[4], x, y].concat())
}

pub(super) fn sha256_name(public: &[u8]) -> Vec<u8> {
    [&[0, 0x0b][..], &Sha256::digest(public)].concat()
}

pub(super) fn name_of(bytes: &[u8]) -> Name {
    Name::new(bytes).expect("algorithm and digest are written here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    const AK: &[u8] = include_bytes!("../../testdata/request/ak.tpmt");
    const AK_UNRESTRICTED: &[u8] = include_bytes!("../../testdata/request/ak-unrestricted.tpmt");

    #[test]
    fn names_equal_those_a_tpm_gave() {
        let ak = AttestationKey::parse(AK).unwrap();
        let found = format!("ak {}\nak-qualified {}\n", ak.name(), hex(&ak.qualified_name()));
        assert_eq!(found, include_str!("../../testdata/request/ak.names"));
    }

    #[test]
    fn an_unrestricted_attestation_key_is_refused() {
        assert_eq!(
            AttestationKey::parse(AK_UNRESTRICTED).unwrap_err(),
            PublicError::Attributes(0x0004_0472)
        );
    }

    #[test]
    fn each_needed_attribute_is_needed_and_decrypt_is_not_allowed() {
        for bit in [1, 4, 5, 16, 17, 18] {
            let mut public = AK.to_vec();
            let attributes = u32::from_be_bytes(public[4..8].try_into().unwrap()) ^ (1 << bit);
            public[4..8].copy_from_slice(&attributes.to_be_bytes());
            assert_eq!(
                AttestationKey::parse(&public).unwrap_err(),
                PublicError::Attributes(attributes),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn cut_and_lengthened_public_areas_are_refused() {
        for end in 0..AK.len() {
            assert!(AttestationKey::parse(&AK[..end]).is_err());
        }
        assert_eq!(
            AttestationKey::parse(&[AK, &[0]].concat()).unwrap_err(),
            PublicError::Malformed
        );
    }
}
