//! `casemate host remove`: a box that will not come back.

use super::Which;
use crate::{
    command::bundle::build,
    output::{Failure, Output},
    site::Site,
};

/// Arguments of `casemate host remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate host remove beta --site site\n\n\
    Then sign the bundle and push it.")]
pub struct Command {
    #[command(flatten)]
    which: Which,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// No such host, in the directory or in the newest signed bundle; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let Which { name, site, yes } = self.which;
        let site = Site::open(&site)?;
        let name = super::label(&name)?;
        let signed = site.newest_signed(None)?;
        let listed =
            signed.is_some_and(|signed| signed.bundle().hosts.iter().any(|host| host.name == name));
        let here = site.hosts()?.contains_key(&name);
        if !here && !listed {
            // Says which there are.
            site.host(name.as_str())?;
        }
        if here && !yes {
            output.confirm(format_args!("Take {name} out of the site?"))?;
        }
        let removed = site.remove_host(&name)?;
        let (next, bundle) = build::after_change(&site, output);
        let word = if removed { "removed" } else { "was removed already:" };
        output.result(
            format_args!("{word} hosts/{name}.toml\n{next}"),
            &serde_json::json!({ "host": name, "removed": removed, "bundle": bundle }),
        );
        Ok(())
    }
}
