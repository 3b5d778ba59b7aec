//! `casemate host …`: which boxes a site has. A box becomes one only after its TPM, firmware and image
//! were verified and a person compared its fingerprint. Whatever changes a record builds the next bundle.

mod add;
mod list;
mod record;
mod refresh;
mod remove;
mod retire;

use std::path::PathBuf;

use casemate_formats::bundle::body::Label;

use crate::output::{Failure, Output};

/// Boxes of the site.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Verifies a box, writes its host record, builds the next bundle.
    ///
    /// Verifies a new box, writes its host record into the site's directory and builds the next bundle. The
    /// fingerprint is read from the console of the box itself: it is what tells the box from whoever
    /// answers in its place. The attestation key is challenged, the event log is replayed, and what else
    /// the firmware started is shown. For a box that is listed already, a changed PCR 7 (after a firmware
    /// update) is added.
    Add(add::Command),
    /// Lists a box's PCR 7 again after a firmware update, and says what differs.
    ///
    /// Fetches a request from a listed box whose firmware was updated, checks that endorsement and
    /// attestation key are the pinned ones and that Secure Boot is on under the site's keys, and shows in
    /// words what the firmware measured otherwise than when the box was listed. Then the new PCR 7 value
    /// stands beside the old one in its host record, and the next bundle is built.
    Refresh(refresh::Command),
    /// Marks a box as retired: it destroys what it holds as soon as it hears.
    ///
    /// Marks a box as retired and builds the next bundle. As soon as the box hears of that bundle, it
    /// raises its counter, keeps no root and starts again: nothing that lies on its disk opens any more.
    /// Nothing undoes it but setting the box up anew. Where the box is lost for good:
    /// `casemate host remove`.
    Retire(retire::Command),
    /// Takes a box out of the site that is lost for good.
    ///
    /// Takes a box out of the site and builds the next bundle: it gets no root and no bundle any more. The
    /// box itself does not hear of it. If it may be in somebody's hands with its disk, it still starts as
    /// it was: see the runbook root-disclosed; if it may come back, `casemate host retire` it instead.
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

/// Which box of which site, and whether somebody is asked before its record changes.
#[derive(Debug, clap::Args)]
struct Which {
    /// Its name within the site.
    name: String,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Do not ask before the record is changed.
    #[arg(long)]
    yes: bool,
}

fn label(name: &str) -> Result<Label, Failure> {
    Label::parse(name).ok_or_else(|| {
        Failure::environment("host-name", "this is no name of a host")
            .expected("a-z, 0-9 and -, starting with a letter, at most 32 characters")
            .found(name)
    })
}
