//! `casemate bundle push`: sends a signed bundle to boxes and says what each answered.

use std::path::PathBuf;

use crate::output::{Failure, Output};

/// Sends a signed bundle to one host of the site, or to all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle push --site site --host alpha\n  \
    casemate bundle push --site site --all")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// What a box refused, by its code; or no connection.
    pub fn run(self, _output: &Output) -> Result<(), Failure> {
        let _ = self.site;
        Err(Failure::environment("not-written", "this command is not written yet"))
    }
}
