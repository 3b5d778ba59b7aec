//! The subcommands, one file each; a script of the same name in `qemu/` runs each.

mod demo;
mod drill;
mod fault;
mod machine;
mod rebuild;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Machines with Secure Boot and a TPM, on your desk.
#[derive(Parser)]
#[command(name = "casemate-qemu", bin_name = "./qemu", disable_help_subcommand = true)]
pub struct Arguments {
    /// Which one.
    #[command(subcommand)]
    pub command: Command,
}

/// What is run.
#[derive(Subcommand)]
pub enum Command {
    /// From kernel source to a decrypted value, in a virtual machine with Secure Boot and a TPM.
    #[command(bin_name = "./qemu/demo")]
    Demo(demo::Arguments),
    /// The runbooks' changes and losses, played on machines: each line as the page has it.
    #[command(bin_name = "./qemu/drill")]
    Drill(drill::Arguments),
    /// What goes wrong with machines: their power, at any instant.
    #[command(bin_name = "./qemu/fault")]
    Fault(fault::Arguments),
    /// A machine that was kept, on and off.
    #[command(bin_name = "./qemu/machine")]
    Machine(machine::Arguments),
    /// Lost and back: one box, one of two, and all of them, with the seconds of each step.
    #[command(bin_name = "./qemu/rebuild")]
    Rebuild(rebuild::Arguments),
}

impl Command {
    /// Runs it to its last line.
    ///
    /// # Errors
    /// The first thing that does not go as it should.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Demo(arguments) => demo::run(arguments),
            Self::Drill(arguments) => drill::run(arguments),
            Self::Fault(arguments) => fault::run(arguments),
            Self::Machine(arguments) => machine::run(arguments),
            Self::Rebuild(arguments) => rebuild::run(arguments),
        }
    }

    /// As its script is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Drill(_) => "drill",
            Self::Fault(_) => "fault",
            Self::Machine(_) => "machine",
            Self::Rebuild(_) => "rebuild",
        }
    }
}
