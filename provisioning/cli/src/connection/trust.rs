//! Whom a connection trusts. Before a box has the site's authority, only a verified request vouches
//! for its TLS key; afterwards the authority's certificate in the bundle does.

use std::sync::Arc;

use casemate_formats::digest::Digest;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::Identity;
use crate::output::Failure;

/// Whom a connection trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anyone: only to fetch a request (whose quote then vouches for the key), or to bring what
    /// authenticates itself.
    Anyone,
    /// The holder of this key: SHA-256 of its SubjectPublicKeyInfo, from a verified request.
    Key(Digest),
    /// A box of the site: `host.namespace.casemate` under one of its authorities (DER).
    Authority {
        /// Certificates of the authorities.
        authorities: Vec<Vec<u8>>,
        /// The name that the box must have.
        name: String,
    },
}

/// TLS 1.3, this trust, and the caller's certificate where there is one.
pub(super) fn config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(trust, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::environment("tls", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match identity {
        None => Ok(config.with_no_client_auth()),
        Some(identity) => identity.present(config),
    }
}

/// The name asked for; without an authority it is not compared.
pub(super) fn server_name(trust: &Trust) -> ServerName<'static> {
    let name = match trust {
        Trust::Authority { name, .. } => name.clone(),
        Trust::Anyone | Trust::Key(_) => "casemate".to_owned(),
    };
    ServerName::try_from(name)
        .unwrap_or_else(|_| ServerName::try_from("casemate").expect("a plain word is a DNS name"))
}

/// SHA-256 of the SubjectPublicKeyInfo that the peer proved to hold.
pub(super) fn peer_key(connection: &ClientConnection) -> Option<Digest> {
    spki(connection.peer_certificates()?.first()?)
}

/// A refusal of the box's key or certificate; `None`: another error.
pub(super) fn failure(error: &std::io::Error) -> Option<Failure> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            Some(
                Failure::refused("wrong-tls-key", "another TLS key answers than the verified one")
                    .next(
                        "the box rebooted, or somebody answers in its place: fetch a new request",
                    ),
            )
        }
        rustls::Error::InvalidCertificate(why) => {
            Some(Failure::refused("wrong-authority", format!("the box's certificate: {why}")).next(
                "check the address; a box that is not Operational has no certificate of the site",
            ))
        }
        rustls::Error::AlertReceived(alert) => {
            Some(Failure::refused("tls-alert", format!("the box refused the handshake: {alert:?}")))
        }
        _ => None,
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(super) fn spki(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Digest::sha256(&parsed.subject_public_key_info()))
}

#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Anyone,
    Key(Digest),
    Authority(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, Failure> {
        let unusable = |error: String| Failure::environment("authority", error);
        let rule = match trust {
            Trust::Anyone => Rule::Anyone,
            Trust::Key(key) => Rule::Key(*key),
            Trust::Authority { authorities, .. } => {
                let mut roots = RootCertStore::empty();
                for der in authorities {
                    roots
                        .add(CertificateDer::from(der.as_slice()))
                        .map_err(|error| unusable(error.to_string()))?;
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(provider),
                );
                Rule::Authority(verifier.build().map_err(|error| unusable(error.to_string()))?)
            }
        };
        Ok(Self { rule, provider: Arc::clone(provider) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.rule {
            Rule::Anyone => Ok(ServerCertVerified::assertion()),
            Rule::Key(key) if spki(certificate) == Some(*key) => {
                Ok(ServerCertVerified::assertion())
            }
            Rule::Key(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Rule::Authority(verifier) => {
                verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is never spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
