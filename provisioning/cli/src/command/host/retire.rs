//! `casemate host retire`: a box is to destroy what it holds.

use super::Which;
use crate::{
    command::bundle::build,
    output::{Failure, Output},
    site::{Site, Written},
};

/// Arguments of `casemate host retire`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate host retire beta --site site\n\n\
    Then sign the bundle and push it, to the retired box as well.")]
pub struct Command {
    #[command(flatten)]
    which: Which,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// No such host; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let Which { name, site, yes } = self.which;
        let site = Site::open(&site)?;
        let (name, mut record) = site.host(&name)?;
        if !record.retired && !yes {
            output.confirm(format_args!("Shall {name} destroy what it holds?"))?;
        }
        record.retired = true;
        let written = site.write_host(&name, &record)?;
        let (next, bundle) = match written {
            Written::Same => ("it is retired already".to_owned(), serde_json::Value::Null),
            Written::New | Written::Changed => build::after_change(&site, output),
        };
        output.result(
            format_args!("{written} hosts/{name}.toml: {name} is retired\n{next}"),
            &serde_json::json!({ "host": name, "written": written, "bundle": bundle }),
        );
        Ok(())
    }
}
