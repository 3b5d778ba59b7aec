//! TLS of the one port: 1.3 only, one key for each boot, client certificates optional and accepted
//! for their key alone. Who a key belongs to is asked of the bundle at every request, not here.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use casemate_core::x509::{Authority, Server};
use casemate_formats::digest::Digest;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SigningKey},
};

/// A client's certificate and whatever it sends beside it. They stay in memory as long as the
/// connection, and TLS alone would allow 64 KiB; a chain of three with RSA keys has 5 KiB.
const CERTIFICATES_BYTES: usize = 8 * 1024;

/// This boot's TLS key. P-256, because every TLS library verifies it; it never leaves the process.
pub struct TlsKey {
    key: Arc<dyn SigningKey>,
    spki: Vec<u8>,
}

impl TlsKey {
    /// A new key.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn generate() -> Result<Self, Error> {
        let failed = || Error::General("no P-256 key could be made".into());
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| failed())?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref()));
        let key = provider::sign::any_ecdsa_type(&der)?;
        let spki = key.public_key().ok_or_else(failed)?.to_vec();
        Ok(Self { key, spki })
    }

    /// SHA-256 of its SubjectPublicKeyInfo: what a request's quote binds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.spki)
    }

    /// A certificate under the site's authority or, before there is a root, by the key itself.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn certify(
        &self,
        names: &[String],
        addresses: &[core::net::IpAddr],
        authority: Option<&Authority>,
    ) -> Result<Arc<CertifiedKey>, Error> {
        let server = Server { spki: &self.spki, names, addresses };
        let certificate = match authority {
            Some(authority) => authority.issue(&server),
            None => server.self_signed(|message| self.sign(message))?,
        };
        let chain = vec![CertificateDer::from(certificate)];
        Ok(Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key))))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.key
            .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
            .ok_or_else(|| Error::General("the key signs no ECDSA".into()))?
            .sign(message)
    }
}

/// The certificate that is shown now: swapped when the root opens, without dropping the listener.
pub struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    /// Starts with this one.
    #[must_use]
    pub fn new(first: Arc<CertifiedKey>) -> Self {
        Self(RwLock::new(first))
    }

    /// From the next handshake on, this one.
    pub fn replace(&self, next: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl core::fmt::Debug for Shown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// The server's configuration.
///
/// # Errors
/// When the provider lacks TLS 1.3.
pub fn config(shown: Arc<Shown>) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(CryptoProvider {
        // The hybrid first: traffic recorded today stays closed to a quantum computer.
        kx_groups: vec![
            provider::kx_group::X25519MLKEM768,
            provider::kx_group::X25519,
            provider::kx_group::SECP256R1,
        ],
        ..provider::default_provider()
    });
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyKey { algorithms }))
        .with_cert_resolver(shown);
    // No resumption: tickets cost a new Ruby connection 40 ms, and a session would outlive its key.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// SHA-256 of the SubjectPublicKeyInfo of a client's certificate.
#[must_use]
pub fn client_key(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    Some(Digest::sha256(&webpki::spki_for_anchor(&anchor)))
}

/// Accepts any well-formed certificate whose key signs the handshake. Names, dates and issuers say
/// nothing here: a client is the key that the bundle lists.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = others.iter().map(|other| other.len()).sum::<usize>() + end_entity.len();
        if bytes > CERTIFICATES_BYTES {
            return Err(CertificateError::BadEncoding.into());
        }
        match client_key(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_no_more_than_8_kib_of_certificates_here() {
        let key = TlsKey::generate().expect("a key");
        let shown = key.certify(&["client".to_owned()], &[], None).expect("a certificate");
        let algorithms = provider::default_provider().signature_verification_algorithms;
        let verify = |beside: usize| {
            let others = [CertificateDer::from(vec![0; beside])];
            AnyKey { algorithms }.verify_client_cert(&shown.cert[0], &others, UnixTime::now())
        };
        let room = CERTIFICATES_BYTES - shown.cert[0].len();
        assert!(verify(room).is_ok());
        assert!(verify(room + 1).is_err());
    }
}
