//! A client's key and certificate, as an application would have them: P-256, self-signed, known to
//! the box by its key alone.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_core::x509::Server;
use casemate_formats::digest::Digest;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::SigningKey,
};

/// Key and certificate.
pub struct Identity {
    key: Vec<u8>,
    certificate: Vec<u8>,
    spki: Vec<u8>,
}

impl Identity {
    /// A new key with a certificate of this name.
    ///
    /// # Errors
    /// The library makes none.
    pub fn new(name: &str) -> Result<Self> {
        let failed = |_| anyhow!("no P-256 key could be made");
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(failed)?;
        let key = key.as_ref().to_vec();
        let signing = signing_key(&key)?;
        let spki = signing.public_key().context("a key without its public half")?.to_vec();
        let names = [name.to_owned()];
        let subject = Server { spki: &spki, names: &names, addresses: &[] };
        let certificate = subject.self_signed(|message| {
            signing
                .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
                .context("an ECDSA key")?
                .sign(message)
                .context("a signature")
        })?;
        Ok(Self { key, certificate, spki })
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// The files are not there, or not of that form.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let der = |extension| -> Result<Vec<u8>> {
            let text = fs::read_to_string(folder.join(name).with_extension(extension))?;
            let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            Ok(STANDARD.decode(body)?)
        };
        let key = der("key")?;
        let spki = signing_key(&key)?.public_key().context("a public half")?.to_vec();
        Ok(Self { certificate: der("crt")?, key, spki })
    }

    /// What a bundle lists: SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.spki)
    }

    /// For rustls.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.clone())]
    }

    /// For rustls.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// Writes `NAME.crt` and `NAME.key`, PEM, for curl and others.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let certificate = pem("CERTIFICATE", &self.certificate);
        fs::write(folder.join(name).with_extension("crt"), certificate)?;
        let key = folder.join(name).with_extension("key");
        fs::write(&key, pem("PRIVATE KEY", &self.key))?;
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(())
    }
}

fn signing_key(pkcs8: &[u8]) -> Result<Arc<dyn SigningKey>> {
    Ok(any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))?)
}

/// RFC 7468.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
