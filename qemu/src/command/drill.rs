//! `./qemu/drill`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use casemate_qemu::drill::{DRILLS, Drill, Outcome, Stage};
use clap::Args;

/// Which drills.
#[derive(Args)]
#[command(after_help = "Examples:\n  ./qemu/drill --list\n  ./qemu/drill box-lost\n  \
    ./qemu/drill --all          every section of provisioning/RUNBOOKS.md, half an hour")]
pub struct Arguments {
    /// Names of sections in provisioning/RUNBOOKS.md.
    #[arg(required_unless_present_any = ["all", "list"])]
    names: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Shows their names.
    #[arg(long)]
    list: bool,
    /// Where the machines are kept while a drill runs; those of one that failed stay there.
    #[arg(long, default_value = "target/drill")]
    folder: PathBuf,
}

/// Plays them.
///
/// # Errors
/// Some did not go as the page says; all were played.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for drill in DRILLS {
            println!("{}", drill.name);
        }
        return Ok(());
    }
    let drills = chosen(&arguments.names)?;
    let stage = Stage::new(&arguments.folder)?;
    let mut failed = Vec::new();
    let mut lines = vec![format!("{:24} {:>8} {:>8}", "drill", "commands", "seconds")];
    for drill in drills {
        match stage.play(drill) {
            Ok(Outcome { name, commands, seconds }) => {
                lines.push(format!("{name:24} {commands:>8} {seconds:>8.1}"));
            }
            Err(error) => {
                println!("\n{}: failed: {error:#}", drill.name);
                lines.push(format!("{:24} failed", drill.name));
                failed.push(drill.name);
            }
        }
    }
    println!("\n{}", lines.join("\n"));
    let folder = arguments.folder.display();
    ensure!(failed.is_empty(), "{}: their machines are in {folder}", failed.join(", "));
    println!("\ndrill: ok");
    Ok(())
}

/// Those named, or all.
fn chosen(names: &[String]) -> Result<Vec<&'static Drill>> {
    let unknown: Vec<&String> =
        names.iter().filter(|name| DRILLS.iter().all(|drill| drill.name != **name)).collect();
    ensure!(unknown.is_empty(), "expected names that --list shows, found {unknown:?}");
    let wanted = |drill: &&Drill| names.is_empty() || names.iter().any(|name| name == drill.name);
    Ok(DRILLS.iter().filter(wanted).collect())
}
