//! `casemate bundle …`: one file a step.

pub mod push;

use clap::Subcommand;

use crate::output::{Failure, Output};

/// Steps of a bundle's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends a signed bundle to boxes.
    Push(push::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The step's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Push(command) => command.run(output),
        }
    }
}
