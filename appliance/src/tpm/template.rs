//! Templates of the three primaries, pinned byte for byte: the same template gives the same key at
//! every boot (TPM 2.0 Part 1, section 27.2).

use casemate_formats::{
    bundle::body::EkTemplate,
    digest::{Digest as Sha256, Name},
};
use sha2::{Digest as _, Sha384};
use tss_esapi::{
    attributes::ObjectAttributesBuilder,
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
    },
    structures::{
        Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme,
        KeyedHashScheme, Public, PublicEccParameters, PublicKeyedHashParameters,
        SymmetricDefinitionObject,
    },
    traits::Marshall as _,
};

use super::TpmError;

/// PolicyA, SHA-256: PolicySecret(endorsement) (TCG EK Credential Profile 2.5, B.6.2).
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// PolicyA, SHA-384 (same place).
pub(super) const POLICY_A_SHA384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6,
    0x4f, 0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e,
    0x14, 0x3e, 0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];

/// PolicyC, SHA-384: PolicyAuthorizeNV of the profile's index (B.6.4).
pub(super) const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef,
    0x2b, 0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5,
    0xb4, 0x94, 0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

/// PolicyB, SHA-384: PolicyOR(A, C) (B.6.5).
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// The endorsement key: L-2 or H-3 of the profile.
pub(super) fn endorsement(template: EkTemplate) -> Result<Public, TpmError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_admin_with_policy(true)
        .with_user_with_auth(matches!(template, EkTemplate::P384))
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let (hash, policy, symmetric, curve, unique): (_, &[u8], _, _, _) = match template {
        EkTemplate::P256 => (
            HashingAlgorithm::Sha256,
            &POLICY_A_SHA256,
            SymmetricDefinitionObject::AES_128_CFB,
            EccCurve::NistP256,
            point(32)?,
        ),
        EkTemplate::P384 => (
            HashingAlgorithm::Sha384,
            &POLICY_B_SHA384,
            SymmetricDefinitionObject::AES_256_CFB,
            EccCurve::NistP384,
            point(0)?,
        ),
    };
    Ok(Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(hash)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::from_bytes(policy)?)
        .with_ecc_parameters(PublicEccParameters::new(
            symmetric,
            EccScheme::Null,
            curve,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(unique)
        .build()?)
}

/// The storage root key: P-256, AES-128, empty authorisation without dictionary-attack protection
/// (a power cut must not count as an attempt).
pub(super) fn storage() -> Result<Public, TpmError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    Ok(Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::AES_128_CFB,
            EccScheme::Null,
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(point(32)?)
        .build()?)
}

/// The attestation key: restricted, ECDSA P-256 with SHA-256.
pub(super) fn attestation() -> Result<Public, TpmError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    Ok(Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::Null,
            EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()?)
}

/// A sealed object under this policy alone: neither its authorisation value nor ours opens it.
pub(super) fn sealed(policy: &Sha256) -> Result<Public, TpmError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_admin_with_policy(true)
        .with_no_da(true)
        .build()?;
    Ok(Public::builder()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::from_bytes(&policy.0)?)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()?)
}

/// TPMT_PUBLIC and its Name, computed here and not taken from the TPM.
pub(super) fn named(public: &Public) -> Result<(Vec<u8>, Name), TpmError> {
    let bytes = public.marshall()?;
    let name = match public.name_hashing_algorithm() {
        HashingAlgorithm::Sha256 => [&[0, 0x0b][..], &Sha256::sha256(&bytes).0].concat(),
        HashingAlgorithm::Sha384 => [&[0, 0x0c][..], &Sha384::digest(&bytes)[..]].concat(),
        _ => return Err(TpmError::Nonsense("an unexpected name algorithm")),
    };
    let name = Name::new(&name).ok_or(TpmError::Nonsense("a name of a wrong length"))?;
    Ok((bytes, name))
}

fn point(bytes: usize) -> Result<EccPoint, TpmError> {
    let zero = || EccParameter::try_from(vec![0; bytes]);
    Ok(EccPoint::new(zero()?, zero()?))
}

#[cfg(test)]
mod tests {
    use casemate_formats::digest::hex;

    use super::*;

    /// A changed template is another key: every host record and every blob would be worthless.
    #[test]
    fn the_templates_are_these_bytes() {
        let bytes = |public: Result<Public, TpmError>| hex(&public.unwrap().marshall().unwrap());
        let golden = include_str!("../../testdata/tpm-templates.txt");
        let now = format!(
            "endorsement P-256 (L-2)\n{}\nendorsement P-384 (H-3)\n{}\nstorage\n{}\nattestation\n{}\nsealed\n{}\n",
            bytes(endorsement(EkTemplate::P256)),
            bytes(endorsement(EkTemplate::P384)),
            bytes(storage()),
            bytes(attestation()),
            bytes(sealed(&Sha256::ZERO)),
        );
        assert_eq!(now, golden, "templates changed:\n{now}");
    }
}
