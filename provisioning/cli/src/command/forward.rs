//! `casemate forward`: from a box that serves to one that lost its root, without custodians.

use std::path::PathBuf;

use crate::{
    connection::Identity,
    forwarding::{self, Outcome},
    output::{Failure, Output},
    reach,
    site::Site,
};

/// Arguments of `casemate forward`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate forward --site site --from alpha --to beta --client ~/.config/casemate/ops")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of the box that serves.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// Name of the box that gets the root.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Where the giving box is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    from_address: Option<String>,
    /// Where the other one is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    to_address: Option<String>,
    /// Certificate and key of a client that may operate: FILE.crt and FILE.key.
    #[arg(long, value_name = "FILE", env = "CASEMATE_CLIENT")]
    client: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// As [`forwarding::forward`].
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let identity = operator(self.client.as_deref(), "forward")?;
        let site = Site::open(&self.site)?;
        let bundle = reach::signed(&site)?;
        let mut giver = reach::listed(
            site.clone(),
            bundle.clone(),
            &self.from,
            self.from_address.as_deref(),
            Some(identity),
        )?;
        let mut taker = reach::listed(site, bundle, &self.to, self.to_address.as_deref(), None)?;
        let (text, json) = match forwarding::forward(&mut giver, &mut taker, false)? {
            Outcome::AlreadyOpen => (
                format!("{} is operational already: nothing was done", self.to),
                serde_json::json!({ "phase": "operational", "forwarded": false }),
            ),
            Outcome::Taken { phase, pending } => (
                format!(
                    "{} is {phase}: it has the root from {}{}",
                    self.to,
                    self.from,
                    if pending { ", and the pending one" } else { "" }
                ),
                serde_json::json!({ "phase": phase, "forwarded": true, "pending": pending }),
            ),
        };
        output.result(text, &json);
        Ok(())
    }
}

/// The identity of a client that may operate.
///
/// # Errors
/// Environment: none was given, or it cannot be read.
pub(super) fn operator(client: Option<&std::path::Path>, what: &str) -> Result<Identity, Failure> {
    let Some(client) = client else {
        return Err(Failure::environment(
            "no-client",
            format!("{what} needs a client that may operate"),
        )
        .expected("--client FILE, or CASEMATE_CLIENT")
        .next("`casemate client new`, then list it with roles = [\"operate\"]"));
    };
    Identity::read(client)
}
