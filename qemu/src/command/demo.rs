//! `./qemu/demo`.

use std::path::PathBuf;

use anyhow::Result;
use casemate_qemu::{demo::Demo, machine::Machine};
use clap::Args;

/// Options of the demo.
#[derive(Args)]
#[command(after_help = "Examples:\n  ./qemu/demo\n  \
    ./qemu/demo --keep          then try the curl line from another shell\n  \
    ./qemu/machine start        later: the same machine, powered on again\n  \
    ./qemu/demo --build-only    the image in target/demo, nothing is started")]
pub struct Arguments {
    /// Leave the machine running; prints a curl line and how to stop it.
    #[arg(long)]
    keep: bool,
    /// Build and sign the demo's image, and stop.
    #[arg(long, conflicts_with = "keep")]
    build_only: bool,
    /// Where everything is kept.
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
}

/// Builds, plays, and says that it went well.
///
/// # Errors
/// The first thing that does not go as it should.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut demo = Demo::new(&arguments.folder, if arguments.build_only { 2 } else { 8 })?;
    demo.build()?;
    if arguments.build_only {
        println!("demo: built {}", arguments.folder.join("casemate.efi").display());
        return Ok(());
    }
    let machine = demo.play()?;
    if arguments.keep {
        keep(&demo, machine);
    }
    println!("\ndemo: ok");
    Ok(())
}

/// Hands the machine over to whoever comes: it outlives this program.
fn keep(demo: &Demo, machine: Machine) {
    println!("\nThe machine goes on. From any shell:\n\n  {}\n", demo.curl_line(&machine));
    println!("Its console: tail -f {}", machine.path("console.log").display());
    let folder = machine.path("");
    println!("Off and on:  ./qemu/machine stop {0} && ./qemu/machine start {0}", folder.display());
    machine.leave_running();
}
