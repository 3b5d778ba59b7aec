//! The one port: TLS 1.3 with optional client certificates, HTTP/1.1, and the one route table that
//! says who may call what in which phase.
//!
//! Order of every request: route, phase, caller, limits, parse, policy, keyring, audit, answer.

pub mod house;

mod admission;
mod beginning;
mod doors;
mod endpoint;
mod head;
mod listener;
mod reach;
mod routes;
mod tls;

use std::{io, sync::Arc};

pub use doors::{DoorKeeper, Doors, doors};
pub use house::{BootFacts, House, HouseError, Snapshot};
pub use reach::{Reachable, reach_at_boot};

use crate::pulse;

/// Threads for what blocks: one TPM job at a time, a tick, collectors that read old blocks.
const BLOCKING_THREADS: usize = 8;

/// Serves what comes through `doors` until `stop` resolves; brings its own runtime and blocks. PID 1 gives a
/// future that never resolves.
///
/// # Errors
/// When the runtime cannot be set up; nothing later.
pub fn run(doors: Doors, house: Arc<House>, stop: impl Future<Output = ()>) -> io::Result<()> {
    pulse::SERVER.waits();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::spawn(house.log.clone().tick_hourly());
        let told = Arc::clone(&house);
        tokio::spawn(async move { told.say_what_went_back().await });
        listener::serve(doors, house, stop).await;
        Ok(())
    })
}
