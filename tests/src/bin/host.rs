//! Starts a box of a throwaway site on a loopback port and prints what a client needs. It runs until
//! SIGINT, SIGTERM or the end of its standard input.

use std::{io::Read as _, path::PathBuf};

use anyhow::Result;
use casemate_tests::{
    host::{Host, Options, Until},
    site::{HOST, NOTES, PII},
};
use clap::Parser;

/// A box without PID 1: the firmware's real rooms with swtpm and a file as disk, on a loopback port.
#[derive(Parser)]
struct Arguments {
    /// Stop before the first bundle.
    #[arg(long, conflicts_with = "locked")]
    unprovisioned: bool,
    /// Stop before genesis.
    #[arg(long)]
    locked: bool,
    /// TCP port on 127.0.0.1; any free one otherwise.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where certificates and keys are written; a temporary folder otherwise.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let until = match (arguments.unprovisioned, arguments.locked) {
        (true, _) => Until::Unprovisioned,
        (_, true) => Until::Locked,
        _ => Until::Operational,
    };
    let host = Host::with(Options { until, port: arguments.port, ..Options::default() })?;
    let folder = arguments.folder.unwrap_or_else(|| host.site.folder().to_owned());
    std::fs::create_dir_all(&folder)?;
    host.write_files(&folder)?;
    println!("address: {}", host.address);
    println!("name: {HOST}.example.casemate");
    println!("files: {}", folder.display());
    println!("keyrings: {PII} (context: column, row), {NOTES} (context: user)");
    if until == Until::Operational {
        println!(
            "try: curl --cacert {0}/authority.crt --cert {0}/web.crt --key {0}/web.key \
             https://{1}/v1/keyrings",
            folder.display(),
            host.address
        );
    }
    println!("ready");
    wait_for_the_end()?;
    drop(host);
    Ok(())
}

/// A signal, or the end of standard input (a terminal's never ends by itself).
fn wait_for_the_end() -> Result<()> {
    let (input, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut input_of_ours = std::io::stdin();
        let mut buffer = [0; 256];
        while input_of_ours.read(&mut buffer).is_ok_and(|read| read > 0) {}
        let _ = input.send(());
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = ended => {}
        }
        Ok(())
    })
}
