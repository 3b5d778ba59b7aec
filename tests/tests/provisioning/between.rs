//! Somebody between the tool and a box: ends TLS with a key of his own and passes on, changes, or
//! replays what he likes.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use casemate_tests::{client::Client, host::Host, identity::Identity};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs};

/// What he does with the box's answer to a request.
pub type Change = Box<dyn FnMut(Vec<u8>) -> Vec<u8> + Send>;

/// Starts him; he lives as long as the test does.
pub fn between(host: &Host, mut change: Change) -> Result<SocketAddr> {
    let identity = Identity::new("casemate")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())?;
    let config = Arc::new(config);
    let upstream = host.nobody()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // Whoever hangs up is nobody's loss.
            let _ = serve(socket, &config, &upstream, &mut change);
        }
    });
    Ok(address)
}

fn serve(
    socket: std::net::TcpStream,
    config: &Arc<ServerConfig>,
    upstream: &Client,
    change: &mut Change,
) -> Result<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, socket);
    let mut bytes = Vec::new();
    let (path, body) = loop {
        let mut part = [0; 4096];
        let count = tls.read(&mut part)?;
        anyhow::ensure!(count > 0, "hung up");
        bytes.extend_from_slice(&part[..count]);
        if let Some(request) = whole(&bytes)? {
            break request;
        }
    };
    let answer = change(upstream.post(&path, &body)?.body);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        answer.len()
    );
    tls.write_all(head.as_bytes())?;
    tls.write_all(&answer)?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}

/// Path and body of a request, once it is all there.
fn whole(bytes: &[u8]) -> Result<Option<(String, Vec<u8>)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?.to_lowercase();
    let path = head.split(' ').nth(1).context("a path")?.to_owned();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(Ok(0), str::parse)?;
    let body = &bytes[end + 4..];
    Ok((body.len() == length).then(|| (path, body.to_vec())))
}
