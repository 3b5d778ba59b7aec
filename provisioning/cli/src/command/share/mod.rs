//! `casemate share …`: what a custodian does with a share of the root key.

mod ack;

use crate::output::{Failure, Output};

/// Shares of the root key, for custodians.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Checks a genesis answer, takes one's share out of it, and acknowledges it.
    ///
    /// Checks that a listed box with a listed image quoted this answer for a bundle that the site's signers
    /// signed; decrypts your share with your age identity; writes it again, encrypted to you, together with
    /// that bundle; and writes the acknowledgement that the next bundle needs. Works offline.
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
