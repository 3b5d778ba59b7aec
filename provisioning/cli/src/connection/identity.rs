//! The caller's own key: a certificate and a private key in PEM files. The bundle lists the key, so
//! nobody signs the certificate.

use std::path::{Path, PathBuf};

use casemate_formats::digest::Digest;
use rustls::{
    ClientConfig, ConfigBuilder,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::trust;
use crate::output::Failure;

/// Certificate and key of a listed client.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// Files of an identity that do not say otherwise: `NAME.crt` and `NAME.key` beside each other.
#[must_use]
pub fn files(stem: &Path) -> (PathBuf, PathBuf) {
    (stem.with_extension("crt"), stem.with_extension("key"))
}

impl Identity {
    /// Reads `NAME.crt` and `NAME.key`; `stem` may name either of them, or neither's ending.
    ///
    /// # Errors
    /// A file is missing or not PEM.
    pub fn read(stem: &Path) -> Result<Self, Failure> {
        let (certificate, key) = files(stem);
        let pem = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::environment("client-identity", format!("{}: {error}", path.display()))
                .expected("a certificate and its private key in PEM, NAME.crt and NAME.key")
                .next("make a pair: casemate client new NAME")
        };
        Ok(Self {
            certificate: CertificateDer::from_pem_file(&certificate)
                .map_err(|error| pem(&certificate, &error))?,
            key: PrivateKeyDer::from_pem_file(&key).map_err(|error| pem(&key, &error))?,
        })
    }

    pub(super) fn present(
        &self,
        config: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, Failure> {
        config
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| Failure::environment("client-identity", error.to_string()))
    }

    /// SHA-256 of its SubjectPublicKeyInfo: what the bundle lists.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        trust::spki(&self.certificate)
    }
}
