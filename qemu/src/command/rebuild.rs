//! `./qemu/rebuild`.

use std::path::PathBuf;

use anyhow::Result;
use casemate_qemu::rebuild;
use clap::Args;

/// Where it is played.
#[derive(Args)]
#[command(after_help = "Example:\n  ./qemu/rebuild        5 minutes; ends with \"rebuild: ok\"")]
pub struct Arguments {
    /// Where the machines are kept.
    #[arg(long, default_value = "target/rebuild")]
    folder: PathBuf,
}

/// Plays it, and shows the seconds of each step.
///
/// # Errors
/// The first thing that does not go as the runbooks say.
pub fn run(arguments: &Arguments) -> Result<()> {
    let times = rebuild::play(&arguments.folder)?;
    println!("\nflash to the first old token, with {} shares: {:.1} s", 2, times.rebuild_s);
    println!(
        "of that for one envelope instead of shares, after the boot: {:.1} s",
        times.forward_s
    );
    println!("\nrebuild: ok");
    Ok(())
}
