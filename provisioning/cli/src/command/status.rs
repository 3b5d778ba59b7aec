//! `casemate status`: phase, reason, bundle and image of a box, as it says itself.

use std::path::PathBuf;

use crate::output::{Failure, Output};

/// Asks a box for its phase, bundle, image and health.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate status --site site --host alpha")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// No connection, or an answer that does not hold.
    pub fn run(self, _output: &Output) -> Result<(), Failure> {
        let _ = self.site;
        Err(Failure::environment("not-written", "this command is not written yet"))
    }
}
