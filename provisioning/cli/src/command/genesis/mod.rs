//! `casemate genesis …`: a root is made, or shared anew, on one box: what to ask for, and asking.

mod ask;
mod run;

use crate::output::{Failure, Output};

/// Genesis: a root is made, or shared anew, on one box.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Writes into the next bundle that new shares, or a new root, are wanted.
    Ask(ask::Command),
    /// Runs it on a box and keeps the answer.
    Run(run::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Ask(command) => command.run(output),
            Self::Run(command) => command.run(output),
        }
    }
}
