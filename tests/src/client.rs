//! A small HTTPS client that does as it is told, also what no honest client does: every byte of a
//! request is the test's.

use std::{
    io::{self, Read as _, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use casemate_formats::{api::Problem, digest::Digest};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs as provider},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde::de::DeserializeOwned;

use crate::identity::Identity;

/// How long an answer is waited for: far longer than any takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The site's authority, DER, and the name that the box has under it.
    Authority(Vec<u8>, String),
    /// A box without a root: the key that its quote vouches for.
    Key(Digest),
    /// Whoever answers; the quote is looked at later.
    Anyone,
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    patience: Duration,
}

impl Client {
    /// A client; `identity`: none connects without a certificate.
    ///
    /// # Errors
    /// Trust or identity are of no use to rustls.
    pub fn new(address: SocketAddr, trust: &Trust, identity: Option<&Identity>) -> Result<Self> {
        let versions = &[&rustls::version::TLS13];
        let crypto = Arc::new(provider::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
            .with_protocol_versions(versions)?;
        let (verifier, name): (Arc<dyn ServerCertVerifier>, &str) = match trust {
            Trust::Authority(authority, name) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(authority.clone()))?;
                let roots = Arc::new(roots);
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, crypto).build()?;
                (verifier, name)
            }
            Trust::Key(key) => (Arc::new(Pinned::new(Some(*key))), "casemate"),
            Trust::Anyone => (Arc::new(Pinned::new(None)), "casemate"),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(name.to_owned())?;
        Ok(Self { address, name, config: Arc::new(config), patience: PATIENCE })
    }

    /// The same, waiting for each answer no longer than this.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A connection after its handshake.
    ///
    /// # Errors
    /// The network's or TLS's.
    pub fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(self.patience))?;
        tcp.set_write_timeout(Some(self.patience))?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        let mut tcp = tcp;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Connection { stream: StreamOwned::new(tls, tcp) })
    }

    /// A GET on a connection of its own.
    ///
    /// # Errors
    /// The network's, TLS's, or an answer that is not HTTP.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.connect()?.send("GET", path, &[], None)
    }

    /// A POST of JSON on a connection of its own.
    ///
    /// # Errors
    /// The network's, TLS's, or an answer that is not HTTP.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Answer> {
        self.connect()?.post(path, body)
    }
}

/// One connection.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Connection {
    /// A POST of JSON.
    ///
    /// # Errors
    /// The network's, or an answer that is not HTTP.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        self.send("POST", path, &[("Content-Type", "application/json")], Some(body))
    }

    /// A request with these headers beside `Host` and `Content-Length`.
    ///
    /// # Errors
    /// The network's, or an answer that is not HTTP.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: casemate\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        // A box that refuses a body before it is read may close while we still write.
        let written = self.write(&bytes);
        match (self.read_answer(), written) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// Raw bytes.
    ///
    /// # Errors
    /// The network's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// How the connection ends from the other side: everything that still comes, or an error when it
    /// ends without TLS's close.
    ///
    /// # Errors
    /// A cut, or nothing within the client's patience.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// The next answer.
    ///
    /// # Errors
    /// The network's, or an answer that is not HTTP.
    pub fn read_answer(&mut self) -> Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte)? == 0 {
                bail!("closed before an answer");
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.context("a status line")?.parse()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(Ok(0), |(_, value)| value.parse())?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }

    /// The TLS group that was agreed on.
    #[must_use]
    pub fn group(&self) -> Option<rustls::NamedGroup> {
        self.stream.conn.negotiated_key_exchange_group().map(|group| group.name())
    }

    /// The socket, for what goes beside TLS.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.stream.sock
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as this type.
    ///
    /// # Errors
    /// It is another one, or the status is not 200.
    pub fn ok<T: DeserializeOwned>(&self) -> Result<T> {
        if self.status != 200 {
            bail!("{}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The code of a problem; `ok` where there is none.
    ///
    /// # Errors
    /// Neither 200 nor a sound problem document.
    pub fn code(&self) -> Result<String> {
        if self.status == 200 {
            return Ok("ok".to_owned());
        }
        let text = String::from_utf8_lossy(&self.body);
        let problem: Problem = serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {text}", self.status))?;
        if problem.status != self.status
            || self.header("content-type") != Some("application/problem+json")
            || Some(problem.instance.as_str()) != self.header("request-id")
        {
            bail!("not a sound problem document: {self:?}");
        }
        Ok(problem.code)
    }
}

/// Believes one key, or anybody; checks that the other side has the key that it shows.
#[derive(Debug)]
struct Pinned {
    key: Option<Digest>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(key: Option<Digest>) -> Self {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        Self { key, algorithms }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let anchor = webpki::anchor_from_trusted_cert(certificate);
        let anchor = anchor.map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let key = Digest::sha256(&webpki::spki_for_anchor(&anchor));
        match self.key {
            Some(pinned) if pinned != key => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
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
