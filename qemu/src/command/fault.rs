//! `./qemu/fault`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use casemate_qemu::fault::Campaign;
use clap::{Args, Subcommand};

/// What goes wrong.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ./qemu/fault powercut --count 20             6 minutes after the image is built\n  \
    ./qemu/fault powercut --count 200 --resume   the same box goes on, and so do its sums")]
pub struct Arguments {
    #[command(subcommand)]
    fault: Fault,
}

#[derive(Subcommand)]
enum Fault {
    /// Cuts the power of a box under load at random instants, boots it, and holds its log against what
    /// its clients were answered. Ends with a line of sums; a lost record or a boot that needs hands is
    /// a failure.
    Powercut {
        /// How often.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// Decides the instants and what each unflushed write leaves behind.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Go on with the box and the sums of the run before.
        #[arg(long)]
        resume: bool,
        /// Where everything is kept; the sums are in powercut.json.
        #[arg(long, default_value = "target/fault")]
        folder: PathBuf,
    },
}

/// Runs it to its sums.
///
/// # Errors
/// A record is lost, a boot needed hands, or the campaign itself cannot go on.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Fault::Powercut { count, seed, resume, folder } = &arguments.fault;
    println!("seed {seed}");
    let sums = Campaign::new(folder, *seed, *resume)?.run(*count)?;
    println!("\n{} of {} cuts came during a boot", sums.during_boots, sums.powercuts);
    println!(
        "powercuts: {}, records: {}, lost: {}, failed boots: {}",
        sums.powercuts, sums.records, sums.lost, sums.failed_boots
    );
    ensure!(sums.lost == 0 && sums.failed_boots == 0, "see {}", folder.display());
    Ok(())
}
