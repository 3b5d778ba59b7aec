//! Signing as UEFI wants it (workstation only): RSA keys and X.509 certificates of the site, PKCS #7
//! SignedData bare for variables and wrapped for images. Deterministic: PKCS #1 v1.5, no time.

use std::vec::Vec;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo,
        SignerInfos,
    },
};
use der::{
    Any, AnyRef, Decode, Encode, Sequence,
    asn1::{Null, ObjectIdentifier, OctetString, SetOfVec},
    pem,
};
use x509_cert::{Certificate, attr::Attribute, spki::AlgorithmIdentifierOwned};
use zeroize::Zeroizing;

use crate::digest::Digest;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SPC_INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
const SPC_PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");

/// SpcPeImageData with no flags and the file name `<<<Obsolete>>>`, the one value that is in use.
const PE_IMAGE_DATA: &[u8] = b"\x30\x25\x03\x01\x00\xa0\x20\xa2\x1e\x80\x1c\
    \0<\0<\0<\0O\0b\0s\0o\0l\0e\0t\0e\0>\0>\0>";

/// A private RSA key with its certificate.
pub struct Signer {
    key: RsaKeyPair,
    certificate: Certificate,
    der: Vec<u8>,
}

/// Why a key or a certificate is of no use here, or a signature is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The key file is not one.
    #[error(
        "expected an unencrypted RSA key of 2048 to 8192 bits in PEM (BEGIN PRIVATE KEY); \
         convert one with `openssl pkey -in KEY -out PLAIN`"
    )]
    Key,
    /// The certificate file is not one.
    #[error("expected one X.509 certificate in PEM (BEGIN CERTIFICATE)")]
    Certificate,
    /// The two do not belong together.
    #[error("the certificate is for another key")]
    Mismatch,
    /// A signature that is to be checked does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// The structure could not be encoded or decoded.
    #[error("PKCS #7: {0}")]
    Der(#[from] der::Error),
}

impl Signer {
    /// From PEM texts: an unencrypted RSA key (PKCS #8 or PKCS #1) and its certificate.
    ///
    /// # Errors
    /// [`SignerError::Key`], [`SignerError::Certificate`], [`SignerError::Mismatch`].
    pub fn new(key_pem: &str, certificate_pem: &str) -> Result<Self, SignerError> {
        let (label, key) = pem::decode_vec(key_pem.as_bytes()).map_err(|_| SignerError::Key)?;
        let key = Zeroizing::new(key);
        let key = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&key),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&key),
            _ => return Err(SignerError::Key),
        }
        .map_err(|_| SignerError::Key)?;
        let der = certificate_from_pem(certificate_pem)?;
        let certificate = Certificate::from_der(&der).map_err(|_| SignerError::Certificate)?;
        if rsa_key(&certificate)? != aws_lc_rs::signature::KeyPair::public_key(&key).as_ref() {
            return Err(SignerError::Mismatch);
        }
        Ok(Self { key, certificate, der })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// Bare SignedData over `message`, which is not in it and no attributes are (a variable update).
    ///
    /// # Errors
    /// [`SignerError::Signature`] and [`SignerError::Der`].
    pub fn sign_detached(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let content = EncapsulatedContentInfo { econtent_type: DATA, econtent: None };
        Ok(self.signed_data(content, None, message)?.to_der()?)
    }

    /// ContentInfo with SignedData over the Authenticode hash of an image.
    ///
    /// # Errors
    /// [`SignerError::Signature`] and [`SignerError::Der`].
    pub fn sign_authenticode(&self, hash: &Digest) -> Result<Vec<u8>, SignerError> {
        let content = indirect_data(hash)?;
        // Over the value of the SEQUENCE, without its tag and length (Authenticode, "Signature").
        let digest = Digest::sha256(AnyRef::from_der(&content)?.value());
        let attributes = SetOfVec::try_from(vec![
            attribute(CONTENT_TYPE, Any::encode_from(&SPC_INDIRECT_DATA)?)?,
            attribute(MESSAGE_DIGEST, Any::encode_from(&OctetString::new(digest.0)?)?)?,
        ])?;
        let signed = attributes.to_der()?;
        let content = EncapsulatedContentInfo {
            econtent_type: SPC_INDIRECT_DATA,
            econtent: Some(Any::from_der(&content)?),
        };
        let data = self.signed_data(content, Some(attributes), &signed)?;
        let content = Any::encode_from(&data)?;
        Ok(ContentInfo { content_type: SIGNED_DATA, content }.to_der()?)
    }

    fn signed_data(
        &self,
        content: EncapsulatedContentInfo,
        signed_attrs: Option<SetOfVec<Attribute>>,
        message: &[u8],
    ) -> Result<SignedData, SignerError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignerError::Signature)?;
        let tbs = self.certificate.tbs_certificate();
        let info = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: tbs.issuer().clone(),
                serial_number: tbs.serial_number().clone(),
            }),
            digest_alg: algorithm(SHA_256)?,
            signed_attrs,
            signature_algorithm: algorithm(RSA_ENCRYPTION)?,
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let certificate = CertificateChoices::Certificate(self.certificate.clone());
        Ok(SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![algorithm(SHA_256)?])?,
            encap_content_info: content,
            certificates: Some(CertificateSet::try_from(vec![certificate])?),
            crls: None,
            signer_infos: SignerInfos::try_from(vec![info])?,
        })
    }
}

/// The DER bytes of a certificate in PEM.
///
/// # Errors
/// [`SignerError::Certificate`].
pub fn certificate_from_pem(text: &str) -> Result<Vec<u8>, SignerError> {
    match pem::decode_vec(text.as_bytes()) {
        Ok(("CERTIFICATE", der)) => Ok(der),
        _ => Err(SignerError::Certificate),
    }
}

/// Checks bare SignedData over `message` against the one certificate (DER) that may have signed.
///
/// # Errors
/// [`SignerError::Signature`] and [`SignerError::Der`].
pub fn verify_detached(message: &[u8], data: &[u8], certificate: &[u8]) -> Result<(), SignerError> {
    let data = SignedData::from_der(data)?;
    let info = only_signer(&data)?;
    if info.signed_attrs.is_some() || data.encap_content_info.econtent.is_some() {
        return Err(SignerError::Signature);
    }
    verify(message, info.signature.as_bytes(), certificate)
}

/// Checks an image's signature (ContentInfo) for its Authenticode hash against the one certificate
/// (DER) that may have signed.
///
/// # Errors
/// [`SignerError::Signature`] and [`SignerError::Der`].
pub fn verify_authenticode(
    hash: &Digest,
    data: &[u8],
    certificate: &[u8],
) -> Result<(), SignerError> {
    let wrapped = ContentInfo::from_der(data)?;
    let data = wrapped.content.decode_as::<SignedData>()?;
    let info = only_signer(&data)?;
    let content = data.encap_content_info.econtent.as_ref().ok_or(SignerError::Signature)?;
    let attributes = info.signed_attrs.as_ref().ok_or(SignerError::Signature)?;
    let digest = Any::encode_from(&OctetString::new(Digest::sha256(content.value()).0)?)?;
    let stated = attributes
        .iter()
        .filter(|a| a.oid == MESSAGE_DIGEST)
        .any(|a| a.values.len() == 1 && a.values.get(0) == Some(&digest));
    // sbsign states other SpcPeImageData bytes than we do, so only the hash is compared: it is the
    // last member of the content (DigestInfo).
    if !stated || !content.value().ends_with(&hash.0) || wrapped.content_type != SIGNED_DATA {
        return Err(SignerError::Signature);
    }
    verify(&attributes.to_der()?, info.signature.as_bytes(), certificate)
}

fn only_signer(data: &SignedData) -> Result<&SignerInfo, SignerError> {
    match data.signer_infos.0.as_slice() {
        [info] if info.digest_alg.oid == SHA_256 => Ok(info),
        _ => Err(SignerError::Signature),
    }
}

fn verify(message: &[u8], signature: &[u8], certificate: &[u8]) -> Result<(), SignerError> {
    let certificate = Certificate::from_der(certificate)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa_key(&certificate)?)
        .verify(message, signature)
        .map_err(|_| SignerError::Signature)
}

/// RSAPublicKey (PKCS #1) of a certificate.
fn rsa_key(certificate: &Certificate) -> Result<&[u8], SignerError> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Err(SignerError::Certificate);
    }
    info.subject_public_key.as_bytes().ok_or(SignerError::Certificate)
}

#[derive(Sequence)]
struct SpcIndirectData {
    data: SpcAttribute,
    digest: DigestInfo,
}

#[derive(Sequence)]
struct SpcAttribute {
    kind: ObjectIdentifier,
    value: Any,
}

#[derive(Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

fn indirect_data(hash: &Digest) -> Result<Vec<u8>, SignerError> {
    let data = SpcAttribute { kind: SPC_PE_IMAGE_DATA, value: Any::from_der(PE_IMAGE_DATA)? };
    let digest = DigestInfo { algorithm: algorithm(SHA_256)?, digest: OctetString::new(hash.0)? };
    Ok(SpcIndirectData { data, digest }.to_der()?)
}

fn algorithm(oid: ObjectIdentifier) -> Result<AlgorithmIdentifierOwned, SignerError> {
    Ok(AlgorithmIdentifierOwned { oid, parameters: Some(Any::encode_from(&Null)?) })
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute, SignerError> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}
