//! The subcommands, one file each. A leaf's `after_help` starts with `Examples:` (a test holds it).

pub mod bundle;
pub mod client;
pub mod share;
pub mod site;
pub mod status;

use clap::Subcommand;

use crate::output::{Failure, Output};

/// What `casemate` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The bundle: everything that can be configured on the boxes.
    #[command(subcommand)]
    Bundle(bundle::Command),
    /// Keys of applications, operators and collectors.
    #[command(subcommand)]
    Client(client::Command),
    /// Shares of the root key, for custodians.
    #[command(subcommand)]
    Share(share::Command),
    /// The directory that describes a site.
    #[command(subcommand)]
    Site(site::Command),
    /// Shows what a box says about itself.
    Status(status::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Bundle(command) => command.run(output),
            Self::Client(command) => command.run(output),
            Self::Share(command) => command.run(output),
            Self::Site(command) => command.run(output),
            Self::Status(command) => command.run(output),
        }
    }
}
