//! `casemate site …`: the directory that describes a site.

mod init;
mod new_db;
mod secure_boot;
mod signers;

use crate::output::{Failure, Output};

/// The directory that describes a site.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes the directory of a new site, or completes an existing one.
    ///
    /// Makes a directory for ops' git: site.toml, bundle.toml, the site's Secure Boot keys and certificates,
    /// and the anchors that images are built with. What is there already is kept; the anchors are written
    /// again from site.toml, so run it again after a change there.
    Init(init::Command),
    /// Shows or changes who signs bundles.
    Signers(signers::Command),
    /// Makes another key that images are signed with.
    NewDb(new_db::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Init(command) => command.run(output),
            Self::Signers(command) => command.run(output),
            Self::NewDb(command) => command.run(output),
        }
    }
}
