//! `./qemu/machine`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use casemate_qemu::machine::{Hardware, Machine};
use clap::{Args, Subcommand};

/// A boot under TCG on a busy machine.
const BOOT: Duration = Duration::from_secs(180);

/// Options of a machine that was kept.
#[derive(Args)]
#[command(
    override_usage = "./qemu/machine <start|stop> [FOLDER]",
    after_help = "Examples:\n  ./qemu/demo --keep\n  \
    ./qemu/machine stop                                 as when its power goes\n  \
    ./qemu/machine start target/demo/machines/alpha"
)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Powers it on, waits until it serves, and leaves it running.
    Start(Folder),
    /// Cuts its power.
    Stop(Folder),
}

#[derive(Args)]
struct Folder {
    /// Where its disk, its firmware's variables and its TPM lie.
    #[arg(default_value = "target/demo/machines/alpha")]
    folder: PathBuf,
}

/// Starts or stops it.
///
/// # Errors
/// There is none, or it does not come up.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Start(Folder { folder }) => start(folder),
        What::Stop(Folder { folder }) => {
            Machine::switch_off(folder);
            println!("off: {}", folder.display());
            Ok(())
        }
    }
}

fn start(folder: &Path) -> Result<()> {
    let disk = folder.join("disk.img");
    let there = disk.exists();
    ensure!(there, "expected a machine in {}, found none: ./qemu/demo --keep", folder.display());
    Machine::switch_off(folder);
    let mut machine = Machine::create(folder, &disk, Hardware::default())?;
    machine.start()?;
    let phase = machine.serial.wait("casemate: phase", BOOT)?;
    println!("{phase}");
    println!("{}", machine.serial.wait("casemate: ready", BOOT)?);
    println!(
        "It answers at https://{}. Its console: tail -f {}/console.log",
        machine.address(),
        folder.display()
    );
    machine.leave_running();
    Ok(())
}
