//! The one port: TLS 1.3 with optional client certificates, HTTP/1.1, and the one route table that
//! says who may call what in which phase.
//!
//! Order of every request: route, phase, caller, limits, parse, policy, keyring, audit, answer.

pub mod house;

use std::{future::Future, io, net::TcpListener, sync::Arc};

pub use house::{BootFacts, House, Snapshot};

/// Serves on `listener` until `stop` resolves; brings its own runtime and blocks. PID 1 gives a
/// future that never resolves.
///
/// # Errors
/// When the runtime or the listener cannot be set up; nothing later.
pub fn run(
    listener: TcpListener,
    house: Arc<House>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let _ = (listener, house, stop);
    todo!()
}
