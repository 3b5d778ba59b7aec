//! `casemate bundle push`: sends a signed bundle to boxes and says what each answered.

use std::path::PathBuf;

use casemate_formats::{api::Accepted, bundle::Verified};

use crate::{
    output::{Failure, Output},
    reach::{self, Listed},
    site::{Site, bundle_failure},
};

/// Sends the newest signed bundle (or --bundle) to one box or to every listed one that is not retired.
/// Each box is verified first, so that its answer can be believed; the bundle itself needs no trust.
/// A box that has it already answers `again`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle push --site site --host alpha\n  \
    casemate bundle push --site site --all")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of the box.
    #[arg(long, value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    host: Option<String>,
    /// Every listed box that is not retired.
    #[arg(long)]
    all: bool,
    /// Where the box is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "host")]
    address: Option<String>,
    /// Another bundle than the newest signed one.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// What a box refused, by its code; or no connection. With several boxes: the first failure,
    /// after all were tried.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let bundle = match &self.bundle {
            None => reach::signed(&site)?,
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
                Verified::verify(&bytes, &site.anchors()?)
                    .map_err(|error| bundle_failure(path, &error))?
            }
        };
        let hosts: Vec<String> = match self.host {
            Some(host) => vec![host],
            None => {
                let hosts = bundle.bundle().hosts.iter().filter(|host| !host.retired);
                hosts.map(|host| host.name.to_string()).collect()
            }
        };
        let mut answers = Vec::new();
        let mut first_failure = None;
        for host in &hosts {
            let address = self.address.as_deref();
            let pushed = reach::listed(site.clone(), bundle.clone(), host, address, None)
                .and_then(|listed| push(listed, &bundle));
            match pushed {
                Ok(answer) => answers.push((host, answer)),
                Err(failure) if hosts.len() == 1 => return Err(failure),
                Err(failure) => {
                    output.note(format_args!("{host}: {failure}"));
                    first_failure.get_or_insert(failure);
                }
            }
        }
        let lines: Vec<String> = answers
            .iter()
            .map(|(host, answer)| {
                let Accepted { seq, phase, outcome, .. } = answer;
                format!("{host}: bundle {seq} {outcome}, {phase}")
            })
            .collect();
        let accepted: Vec<_> = answers
            .iter()
            .map(|(host, answer)| serde_json::json!({ "host": host, "answer": answer }))
            .collect();
        match first_failure {
            // With --json the failure is the one document; what was accepted is said by the boxes.
            Some(failure) => {
                output.note(lines.join("\n"));
                Err(failure)
            }
            None => {
                output.result(lines.join("\n"), &accepted);
                Ok(())
            }
        }
    }
}

fn push(mut listed: Listed, bundle: &Verified) -> Result<Accepted, Failure> {
    listed.trust()?;
    let answer: Accepted =
        listed.connection.post_bytes("/v1/bundle", bundle.envelope().to_vec())?;
    if answer.bundle != bundle.digest() {
        return Err(Failure::refused("wrong-answer", "the box names another bundle as in force")
            .expected(bundle.digest())
            .found(answer.bundle)
            .next("fetch its status"));
    }
    Ok(answer)
}
