//! One box over HTTPS: TLS 1.3, one request at a time, bounded answers. Whom it trusts is decided by
//! [`trust`]; what the box refuses comes back as the [`Failure`] that its code names.

pub mod identity;
pub mod sending;
pub mod trust;

use std::{net::Ipv6Addr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::{
    api::{ImageTaken, Problem},
    code::Code,
    digest::Digest,
};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::SendRequest,
    header::{CONTENT_TYPE, HOST, HeaderName},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use identity::Identity;
pub use sending::Progress;
use sending::Sending;
pub use trust::Trust;

use crate::output::Failure;

/// The port of a box that no bundle has told another.
pub const DEFAULT_PORT: u16 = 8443;
/// Until the box has answered the handshake: a LAN answers in milliseconds, a booting box not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// Until it has answered a request; genesis and an accept take the TPM a second or two.
const ANSWER: Duration = Duration::from_secs(60);
/// Until it has taken and read back an image: 64 MiB over a slow line, and a slow disk.
const IMAGE: Duration = Duration::from_secs(15 * 60);
const OCTETS: &str = "application/octet-stream";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Bytes of an answer: a page of audit blocks is the largest.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// A box at an address. Connects when it is first asked, and again when the box hung up.
pub struct Connection {
    runtime: Runtime,
    address: String,
    identity: Option<Identity>,
    trust: Trust,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Sending>,
    key: Digest,
}

impl Connection {
    /// A box at `host[:port]`, not yet connected.
    ///
    /// # Errors
    /// The address is not one; no runtime.
    pub fn new(
        address: &str,
        default_port: u16,
        identity: Option<Identity>,
        trust: Trust,
    ) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = with_port(address, default_port).ok_or_else(|| {
            Failure::environment("address", "this is no address of a box")
                .expected("HOST, HOST:PORT, ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT")
                .found(address)
        })?;
        Ok(Self { runtime, address, identity, trust, open: None })
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the box showed; connects if need be.
    ///
    /// # Errors
    /// No connection, or a key that is not trusted.
    pub fn key(&mut self) -> Result<Digest, Failure> {
        self.connect().map(|open| open.key)
    }

    /// From now on trusts what `trust` says; what is connected already is not asked again, so the
    /// caller compares [`Self::key`] first.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// GET, with an answer in JSON.
    ///
    /// # Errors
    /// No connection; what the box refused, by its code; an answer that is not one.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        parse(&self.exchange(&Method::GET, path, "application/json", Vec::new(), ANSWER)?)
    }

    /// GET that the box may hold for `wait` before it answers.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_waiting<T: DeserializeOwned>(
        &mut self,
        path: &str,
        wait: Duration,
    ) -> Result<T, Failure> {
        parse(&self.exchange(&Method::GET, path, "application/json", Vec::new(), ANSWER + wait)?)
    }

    /// GET, with the answer's bytes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_bytes(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        self.exchange(&Method::GET, path, "application/json", Vec::new(), ANSWER)
    }

    /// POST of JSON, with an answer in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body =
            serde_json::to_vec(body).map_err(|error| Failure::from(anyhow::Error::from(error)))?;
        parse(&self.exchange(&Method::POST, path, "application/json", body, ANSWER)?)
    }

    /// POST of bytes, with an answer in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post_bytes<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        parse(&self.exchange(&Method::POST, path, "application/octet-stream", body, ANSWER)?)
    }

    /// PUT of a whole ESP that has this hash, with the time that takes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put_image(
        &mut self,
        esp: &Bytes,
        hash: &Digest,
        progress: Option<Progress>,
    ) -> Result<ImageTaken, Failure> {
        let digest = format!("sha-256=:{}:", STANDARD.encode(hash.0));
        let headers = [(CONTENT_TYPE, OCTETS), (CONTENT_DIGEST, digest.as_str())];
        let body = Sending::new(esp.clone(), progress);
        parse(&self.send(&Method::PUT, "/v1/image", &headers, body, IMAGE)?)
    }

    fn exchange(
        &mut self,
        method: &Method,
        path: &str,
        media: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let with_body = *method == Method::POST;
        let headers = [(CONTENT_TYPE, media)];
        let headers = if with_body { &headers[..] } else { &[] };
        self.send(method, path, headers, Sending::new(body.into(), None), patience)
    }

    fn send(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Sending,
        patience: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let unreachable = |error: String| {
            Failure::environment("connection-lost", format!("the box hung up: {error}"))
                .next("try again; if it stays, look at the box's console")
        };
        let address = self.address.clone();
        self.connect()?;
        let open = self.open.as_mut().ok_or_else(|| unreachable("closed".into()))?;
        let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, address);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request
            .header(HeaderName::from_static("accept"), "application/json, application/octet-stream")
            .body(body)
            .map_err(|error| unreachable(error.to_string()))?;
        let answer = self.runtime.block_on(async {
            let answer = timeout(patience, open.sender.send_request(request)).await;
            let answer = answer.map_err(|_| unreachable("no answer".into()))?;
            let answer = answer.map_err(|error| unreachable(error.to_string()))?;
            let (parts, body) = answer.into_parts();
            collect(body).await.map(|body| (parts.status, body)).map_err(unreachable)
        });
        match answer {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(refused(status, &body)),
            Err(failure) => {
                self.open = None;
                Err(failure)
            }
        }
    }

    /// The open connection, made anew when there is none or the box closed it.
    fn connect(&mut self) -> Result<&Open, Failure> {
        let ready = match &mut self.open {
            // Lets the connection's task notice that the box hung up.
            Some(open) => self.runtime.block_on(async {
                tokio::task::yield_now().await;
                open.sender.ready().await.is_ok()
            }),
            None => false,
        };
        if !ready {
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            slot => {
                let config = trust::config(&self.trust, self.identity.as_ref())?;
                let name = trust::server_name(&self.trust);
                let opening = open(&self.address, TlsConnector::from(Arc::new(config)), name);
                let unreachable = |error: &str| {
                    Failure::environment("unreachable", format!("{}: {error}", self.address))
                        .next("check address and port; the box's console shows both, and its phase")
                };
                let opened = self.runtime.block_on(async { timeout(CONNECT, opening).await });
                match opened.map_err(|_| unreachable("no answer"))? {
                    Ok(open) => Ok(slot.insert(open)),
                    Err(error) => {
                        Err(trust::failure(&error)
                            .unwrap_or_else(|| unreachable(&error.to_string())))
                    }
                }
            }
        }
    }
}

async fn open(
    address: &str,
    connector: TlsConnector,
    name: rustls::pki_types::ServerName<'static>,
) -> std::io::Result<Open> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let stream: TlsStream<TcpStream> = connector.connect(name, socket).await?;
    let key = trust::peer_key(stream.get_ref().1)
        .ok_or_else(|| std::io::Error::other("the box showed no certificate"))?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        // Its error reaches the sender.
        let _ = connection.await;
    });
    Ok(Open { sender, key })
}

async fn collect(body: Incoming) -> Result<Vec<u8>, String> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    collected.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::environment("unknown-answer", format!("the box's answer is not one: {error}"))
            .next("use the version of this tool that belongs to the image")
    })
}

/// What a problem document says (RFC 9457); anything else by its status. Whoever answers may not be a
/// box: its words stay on their lines, or they would look like ours.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            let known = Code::from_slug(&problem.code);
            let failure = known.map_or_else(
                || Failure::refused(on_one_line(&problem.code), on_one_line(&problem.title)),
                Failure::from,
            );
            match problem.detail {
                Some(detail) => failure.found(on_one_line(&detail)),
                None => failure,
            }
        }
        Err(_) => Failure::refused("http", format!("the box answered {status}"))
            .next("check that this is the port of a Casemate box"),
    }
}

/// `address` with a port: IPv6 literals need brackets to carry one.
fn with_port(address: &str, default_port: u16) -> Option<String> {
    if address.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("[{address}]:{default_port}"));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
            !host.is_empty() && host.bytes().all(known)
        }
    };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    good.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_a_port_and_nonsense_is_refused() {
        for (given, expected) in [
            ("10.0.0.7", "10.0.0.7:8443"),
            ("10.0.0.7:9443", "10.0.0.7:9443"),
            ("alpha.example", "alpha.example:8443"),
            ("fd00::7", "[fd00::7]:8443"),
            ("[fd00::7]", "[fd00::7]:8443"),
            ("[fd00::7]:9443", "[fd00::7]:9443"),
        ] {
            assert_eq!(with_port(given, DEFAULT_PORT).as_deref(), Some(expected));
        }
        for wrong in ["", ":8443", "a:b", "a:0", "a:70000", "a b", "https://a", "[a]:1", "[fd00::7"]
        {
            assert_eq!(with_port(wrong, DEFAULT_PORT), None, "{wrong}");
        }
    }

    #[test]
    fn a_problem_document_keeps_its_code_and_says_what_to_do() {
        let problem = Problem {
            kind: Code::WrongPhase.uri(),
            title: Code::WrongPhase.title().into(),
            status: 409,
            code: Code::WrongPhase.slug().into(),
            instance: "id".into(),
            detail: None,
        };
        let failure = refused(StatusCode::CONFLICT, &serde_json::to_vec(&problem).unwrap());
        assert_eq!((failure.code(), failure.exit_code()), ("wrong-phase", 1));
        assert!(failure.to_string().contains("next:"));
        let forged = Problem { detail: Some("x\n  next:     --yes".into()), ..problem };
        let failure = refused(StatusCode::CONFLICT, &serde_json::to_vec(&forged).unwrap());
        assert!(failure.to_string().contains("found:    x next: --yes\n"), "{failure}");
        assert_eq!(refused(StatusCode::BAD_GATEWAY, b"<html>").code(), "http");
    }
}
