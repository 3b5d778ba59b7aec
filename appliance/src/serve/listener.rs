//! Accepts connections and sees each one through: admission, TLS handshake, HTTP/1.1, a close that
//! the other side can tell from a cut.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use casemate_formats::digest::Digest;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    House,
    admission::{Connection, Doing, Pass, SWEEP},
    doors::{Change, Doors},
    head, routes, tls,
};
use crate::pulse;

/// How long an answer under way, or the other side's close, is waited for when a connection ends.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel has to take our last bytes from us.
const FAREWELL: Duration = Duration::from_millis(200);
/// What is read and thrown away, undeciphered, of a body that was refused.
const DRAIN_BODY: u64 = 16 * 1024 * 1024;
/// What is read and thrown away of a stranger that does not speak TLS, so that it sees our alert
/// and not a reset.
const DRAIN: u64 = 16 * 1024;

/// Who is at the other end of a connection.
pub(super) struct Peer {
    /// Where it comes from.
    pub address: IpAddr,
    /// SHA-256 of the key it has shown, listed or not.
    pub key: Option<Digest>,
    /// Its place.
    pub pass: Pass,
}

/// Serves until `stop` resolves, then lets what is under way end.
pub(super) async fn serve(mut doors: Doors, house: Arc<House>, stop: impl Future<Output = ()>) {
    let mut open = JoinSet::new();
    let mut ports = Vec::new();
    let gate = Arc::clone(&house.gate);
    let mut sweep = tokio::time::interval(SWEEP);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            change = doors.changed() => match change {
                Change::Open(listener) => {
                    let port = listener.local_addr().map_or(0, |local| local.port());
                    ports.push((port, open.spawn(accept(listener, Arc::clone(&house)))));
                }
                // Those who came through it are served on.
                Change::Close(port) => {
                    ports.extract_if(.., |(of, _)| *of == port).for_each(|(_, door)| door.abort());
                }
            },
            Some(_) = open.join_next() => {}
            _ = sweep.tick() => {
                gate.sweep();
                // Seen alive: this loop, and a thread that answers.
                tokio::spawn(async { pulse::SERVER.beat() });
            }
            () = &mut stop => break,
        }
    }
    pulse::SERVER.rest();
    open.shutdown().await;
    gate.close_all();
    let empty = async {
        while gate.count() != (0, 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(2 * GRACE, empty).await;
}

/// Accepts on one port, for ever.
async fn accept(listener: std::net::TcpListener, house: Arc<House>) {
    let acceptor = TlsAcceptor::from(Arc::clone(&house.tls));
    let registered = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let Ok(listener) = registered else { return };
    loop {
        match listener.accept().await {
            Ok((stream, from)) => admit(stream, from, &acceptor, &house),
            // Those inside go on, the next sweep frees some.
            Err(error) if is_shortage(&error) => sleep(Duration::from_millis(50)).await,
            // That one connection's own fault.
            Err(_) => {}
        }
    }
}

/// Out of descriptors or memory (accept(2)): at once again would be in vain.
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let shortages = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| shortages.contains(&Errno::from_raw(code)))
}

fn admit(stream: TcpStream, from: SocketAddr, acceptor: &TlsAcceptor, house: &Arc<House>) {
    let address = from.ip().to_canonical();
    // Full of connections that are all being served: this one is dropped unseen.
    let Some(pass) = house.gate.enter() else { return };
    let _ = stream.set_nodelay(true);
    tokio::spawn(attend(stream, address, pass, acceptor.clone(), Arc::clone(house)));
}

async fn attend(
    stream: TcpStream,
    address: IpAddr,
    pass: Pass,
    acceptor: TlsAcceptor,
    house: Arc<House>,
) {
    let connection = Arc::clone(&pass.connection);
    let (began, local) = (Instant::now(), stream.local_addr());
    // Boxed, both: what a handshake needs is given back before the connection waits for requests.
    let handshake = Box::pin(acceptor.accept(stream).into_fallible());
    let stream = tokio::select! {
        done = handshake => match done {
            Ok(stream) => Box::new(stream),
            Err((_, stream)) => return turn_away(stream).await,
        },
        () = connection.close.notified() => return,
    };
    let key = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(|certificate| tls::client_key(certificate));
    let peer = Peer { address, key, pass };
    let listed = house.snapshot().knows(&peer);
    if listed && !peer.admitted() {
        return;
    }
    if let Ok(local) = local {
        house.connected(local, address, began, listed);
    }
    connection.set(Doing::Idle);
    http(stream, &connection, &house, &peer).await;
}

impl Peer {
    /// Takes a listed client's place; `false`: that client has too many connections.
    pub(super) fn admitted(&self) -> bool {
        self.key.is_none_or(|key| self.pass.recognise(key).is_some())
    }
}

/// Ends a connection that did not become TLS: our alert is sent, then both sides close.
async fn turn_away(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(DRAIN), &mut tokio::io::sink()).await
    };
    let _ = timeout(GRACE, farewell).await;
}

async fn http(
    stream: Box<TlsStream<TcpStream>>,
    connection: &Arc<Connection>,
    house: &Arc<House>,
    peer: &Peer,
) {
    let service = service_fn(async |request| {
        connection.set(Doing::Served);
        let response = routes::answer(house, peer, request).await;
        connection.set(Doing::Idle);
        Ok::<_, Infallible>(response)
    });
    let io = TokioIo::new(Heard { stream, connection: Arc::clone(connection) });
    let mut served = http1::Builder::new()
        .half_close(false)
        .max_buf_size(head::BUFFER)
        // Admission keeps the clocks: hyper's covers idle time and header alike.
        .header_read_timeout(None)
        .serve_connection(io, service);
    let ended = tokio::select! {
        _ = &mut served => Ended::ByHttp,
        () = connection.close.notified() => Ended::ByAdmission,
    };
    // Told to end while it is served (the port closes): what is under way gets out.
    if ended == Ended::ByAdmission && connection.is_served() {
        Pin::new(&mut served).graceful_shutdown();
        let _ = timeout(GRACE, &mut served).await;
    }
    let stream = served.into_parts().io.into_inner().stream;
    tokio::select! {
        () = take_leave(stream, ended) => {}
        () = connection.close.notified() => {}
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The other side, or our answer said so.
    ByHttp,
    /// Its time or its place was over.
    ByAdmission,
}

/// TLS's close, so that the other side can tell it from a cut. Where it may still be sending a body
/// that was refused, that is read and thrown away for a while: a reset would cost it our answer.
async fn take_leave(mut stream: Box<TlsStream<TcpStream>>, ended: Ended) {
    if timeout(FAREWELL, stream.shutdown()).await.is_ok() && ended == Ended::ByHttp {
        let mut rest = stream.get_mut().0.take(DRAIN_BODY);
        let _ = timeout(GRACE, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// Tells admission when an idle connection begins to speak.
struct Heard {
    stream: Box<TlsStream<TcpStream>>,
    connection: Arc<Connection>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.heard();
        }
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// The close is [`take_leave`]'s.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
