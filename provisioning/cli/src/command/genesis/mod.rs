//! `casemate genesis …`: a root is made, or shared anew, on one box: what to ask for, and asking.

mod ask;
mod run;

use crate::output::{Failure, Output};

/// Genesis: a root is made, or shared anew, on one box.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Writes into the next bundle that new shares, or a new root, are wanted.
    ///
    /// Asks for new shares of the root that is in use (other custodians, another threshold), or with
    /// --new-root for the next root, after a suspected disclosure. The present root and its shares stay in
    /// force until every custodian of the new ones has acknowledged and a bundle with their
    /// acknowledgements is pushed. Everybody who stays gets a new share.
    Ask(ask::Command),
    /// Has a box do what the bundle asks for, and keeps its answer for the custodians.
    ///
    /// Has a box make (or split anew) the root that the newest signed bundle asks for. The answer holds a
    /// share for each custodian, encrypted to them, and is quoted by the box's TPM. It may be run again
    /// until the bundle that names the root is in force; only the last answer counts then.
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
