//! `casemate share seal`: a custodian looks at a request, and seals a share to the boot that asks.

use std::path::PathBuf;

use casemate_formats::share::{
    Message,
    exchange::{MAX_REQUEST_BYTES, RecoveryRequest, SealedShare},
    seal::Contents,
};
use getrandom::{SysRng, rand_core::UnwrapErr};

use crate::{
    custody::{
        Age, Kept,
        review::{self, Accepted, Review},
    },
    output::{Failure, Output},
    site::{not_in_place_of, read_bounded, write_json},
};

/// Arguments of `casemate share seal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share seal alpha.request --share example-1-1-ann.share.age \\\n    \
    --identity ~/.config/age/key.txt -o ann.sealed\n\n\
    The first time, for a share file that `casemate share ack` did not write: --anchors FILE.\n\
    When the site has other signers or Secure Boot keys than you know, it is refused and shows both;\n\
    --accept-anchors FINGERPRINT goes on, after you have heard the fingerprint from people you know.")]
pub struct Command {
    /// What ops gave you: `casemate share request` wrote it.
    request: PathBuf,
    /// Your share file.
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    #[command(flatten)]
    age: Age,
    /// The site's anchors, for a share file that does not hold any yet.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// Fingerprint of other anchors than before, which you accept.
    #[arg(long, value_name = "FINGERPRINT")]
    accept_anchors: Option<String>,
    /// Where the sealed share goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Do not ask: what it shows was read before.
    #[arg(long)]
    yes: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The request does not hold, by name; the share does not open or is not of the root in force; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        not_in_place_of(&self.output, &[&self.share, &self.age.identity, &self.request])?;
        let accepted = self.accept_anchors.as_deref().map(review::fingerprint).transpose()?;
        let bytes = read_bounded(&self.request, MAX_REQUEST_BYTES)?;
        let asked = RecoveryRequest::parse(&bytes).map_err(|error| {
            Failure::refused("malformed-file", format!("{}: {error}", self.request.display()))
                .next("`casemate share request` writes such a file")
        })?;
        let mut kept = Kept::open(&self.share, &self.age)?;
        let pinned = kept.anchors(self.anchors.as_deref())?;
        let accepted = Accepted { anchors: accepted.as_ref() };
        let review = Review::new(&asked, &kept, &pinned, accepted)?;
        output.note(review.lines().join("\n"));
        if !self.yes {
            output.confirm(format_args!(
                "Seal the share of {} to this boot of {}?",
                review.custodian.name, review.host.name
            ))?;
        }
        let contents = Contents::Share(kept.expose_share()?);
        let mut rng = UnwrapErr(SysRng);
        let (bundle, boot) = (review.bundle.bundle(), review.attested.claims.hpke_key);
        let message = Message::seal(boot, &review.host.ek, bundle, &contents, &mut rng)
            .map_err(|error| Failure::refused("seal", error.to_string()).next("tell ops"))?;
        drop(contents);
        // What was seen is remembered before anything leaves: nobody can show something older later.
        kept.file.bundle = review.bundle.envelope().to_vec();
        kept.file.anchors = review
            .anchors
            .encode()
            .map_err(|error| Failure::refused("anchors", error.to_string()))?;
        kept.write(&review.custodian.recipient)?;
        let sealed = SealedShare {
            format: SealedShare::FORMAT,
            namespace: bundle.site.namespace.clone(),
            host: review.host.name.clone(),
            custodian: review.custodian.name.clone(),
            commitment: kept.file.share.commitment(),
            message,
        };
        let written = write_json(&self.output, &sealed)?;
        let mut json = review.json();
        json["file"] = serde_json::json!(self.output);
        json["commitment"] = serde_json::json!(sealed.commitment);
        output.result(
            format_args!(
                "{written} {}: give it to ops; it opens nothing but this boot of {}\n\
                 {} remembers bundle {} from now on",
                self.output.display(),
                review.host.name,
                self.share.display(),
                bundle.site.seq,
            ),
            &json,
        );
        Ok(())
    }
}
