//! `casemate share …`: what a custodian does with a share of the root key.

mod ack;

use crate::output::{Failure, Output};

/// Shares of the root key, for custodians.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Checks a genesis answer, takes one's share out of it, and acknowledges it.
    Ack(ack::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Ack(command) => command.run(output),
        }
    }
}
