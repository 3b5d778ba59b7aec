//! `casemate host …`: which boxes a site has. A box becomes one only after its TPM, firmware and image
//! were verified and a person compared its fingerprint. Whatever changes a record builds the next bundle.

mod add;
mod list;
mod record;
mod refresh;
mod remove;
mod retire;

use casemate_formats::bundle::body::Label;

use crate::output::{Failure, Output};

/// Boxes of the site.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Verifies a box, writes its host record, builds the next bundle.
    Add(add::Command),
    /// Lists a box's PCR 7 again after a firmware update, and says what differs.
    Refresh(refresh::Command),
    /// Marks a box as retired: it destroys what it holds as soon as it hears.
    Retire(retire::Command),
    /// Takes a box out of the site that is lost for good.
    Remove(remove::Command),
    /// Shows the site's host records.
    List(list::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(output),
            Self::Refresh(command) => command.run(output),
            Self::Retire(command) => command.run(output),
            Self::Remove(command) => command.run(output),
            Self::List(command) => command.run(output),
        }
    }
}

fn label(name: &str) -> Result<Label, Failure> {
    Label::parse(name).ok_or_else(|| {
        Failure::environment("host-name", "this is no name of a host")
            .expected("a-z, 0-9 and -, starting with a letter, at most 32 characters")
            .found(name)
    })
}
