//! `casemate genesis run`: has a box make, or split anew, the root that its bundle asks for, verifies
//! the quoted answer and keeps it for the custodians.

use std::path::PathBuf;

use casemate_formats::{
    code::Code,
    genesis::{Answer, Document},
    request::verify,
};

use crate::{
    output::{Failure, Output},
    reach::Reach,
    site,
};

/// Arguments of `casemate genesis run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate genesis run --site site --host alpha --client ~/.config/casemate/ops\n\n\
    Then every custodian runs `casemate share ack` on the answer, and the acknowledgements go into \
    the next bundle.")]
pub struct Command {
    #[command(flatten)]
    reach: Reach,
    /// A further copy of the answer, for custodians without the site's directory.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The box is not the listed one, is under another bundle, or refuses; its answer does not hold.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if self.reach.client.is_none() {
            return Err(Failure::environment(
                "no-client",
                "genesis needs a client that may operate",
            )
            .expected("--client FILE")
            .next("`casemate client new`, then list it with roles = [\"operate\"]"));
        }
        let mut listed = self.reach.listed()?;
        let attested = listed.attest()?;
        let (wanted, found) = (listed.bundle.digest(), attested.claims.bundle);
        if wanted != found {
            return Err(Failure::from(Code::WrongBundle)
                .expected(wanted)
                .found(crate::attest::or_none(&found))
                .next("`casemate bundle push` the newest signed bundle first"));
        }
        let answer: Answer = listed.connection.post("/v1/genesis", &serde_json::json!({}))?;
        let host = verify::genesis(&answer, listed.bundle.bundle(), &wanted)?;
        if host.name != listed.host.name {
            return Err(Failure::from(Code::HostMismatch)
                .expected(&listed.host.name)
                .found(&host.name));
        }
        let document = Document { bundle: listed.bundle.envelope().to_vec(), answer };
        let (path, written) = listed.site.write_genesis(&document)?;
        if let Some(copy) = &self.output {
            let text = serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)?;
            site::write(copy, format!("{text}\n").as_bytes())?;
        }
        let answer = &document.answer;
        output.result(
            format_args!(
                "{written} {}: root {} in split {}, quoted by {}\n\
                 fingerprint  {}\n\
                 next: each of the {} custodians runs `casemate share ack` on it",
                path.display(),
                answer.generation,
                answer.split,
                listed.host.name,
                answer.fingerprint.grouped(),
                answer.shares.len(),
            ),
            &serde_json::json!({
                "file": path, "host": listed.host.name, "generation": answer.generation,
                "split": answer.split, "fingerprint": answer.fingerprint,
                "custodians": answer.shares.len(),
            }),
        );
        Ok(())
    }
}
