//! `casemate host list`: the site's host records.

use std::path::PathBuf;

use crate::{
    output::{Failure, Output},
    reach,
    site::Site,
};

/// Shows the site's host records.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate host list --site site")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let hosts = Site::open(&self.site)?.hosts()?;
        let lines: Vec<String> = hosts
            .iter()
            .map(|(name, record)| {
                let state = match (record.retired, record.sealed) {
                    (true, _) => "retired",
                    (false, true) => "sealed",
                    (false, false) => "not sealed",
                };
                let reach = reach::address_of(name, record).unwrap_or_else(|_| "-".to_owned());
                format!("{name}  {}  {reach}  {state}", record.ek.fingerprint().short())
            })
            .collect();
        let text = if lines.is_empty() { "no host yet".to_owned() } else { lines.join("\n") };
        output.result(text, &hosts);
        Ok(())
    }
}
