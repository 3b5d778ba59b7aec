//! `casemate share request`: everything that custodians must see, in one file.

use std::path::PathBuf;

use casemate_formats::{code::Code, request::verify::Known, share::exchange::RecoveryRequest};

use crate::{
    attest::{self, Terms, or_none},
    custody::review::anchors_digest,
    output::{Failure, Output},
    reach::Reach,
    site::write_json,
};

/// Asks a box that has lost its root for a request, verifies it, and writes it together with the
/// site's anchors and the bundle in force: one file, for every custodian. It is good for this boot of
/// this box; when the box starts again, ask again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share request --site site --host alpha -o alpha.request\n\n\
    Give the file to k custodians; each gives back a sealed share (`casemate share seal`).")]
pub struct Command {
    #[command(flatten)]
    reach: Reach,
    /// Where to keep the request.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The box is not the listed one, is not locked, or is under another bundle.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut listed = self.reach.listed()?;
        let anchors = listed.site.anchors()?;
        let bundle = listed.bundle.bundle();
        let Some(established) = &bundle.root.established else {
            return Err(
                Failure::from(Code::NoRoot).next("run genesis: there is nothing to share yet")
            );
        };
        let terms =
            Terms { anchors: &anchors, images: &bundle.images, host: Known::Listed(&listed.host) };
        let (request, attested) = attest::verified(&mut listed.connection, terms, None)?;
        let claims = &attested.claims;
        if claims.bundle != listed.bundle.digest() {
            return Err(Failure::from(Code::WrongBundle)
                .expected(listed.bundle.digest())
                .found(or_none(&claims.bundle))
                .next("`casemate bundle push` first: custodians are shown the bundle in force"));
        }
        if claims.phase != "locked" {
            return Err(Failure::from(Code::WrongPhase)
                .expected("a box that is locked")
                .found(&claims.phase)
                .next("nothing is to be done: its root is open"));
        }
        let bytes =
            anchors.encode().map_err(|error| Failure::refused("anchors", error.to_string()))?;
        let names = (bundle.site.namespace.clone(), listed.host.name.clone());
        let envelope = listed.bundle.envelope().to_vec();
        let file = RecoveryRequest::new(names, bytes, envelope, request);
        let written = write_json(&self.output, &file)?;
        let custodians: Vec<&str> =
            bundle.root.custodians.iter().map(|custodian| custodian.name.as_str()).collect();
        let text = format!(
            "{written} {}: {} of {} asks for root {} under bundle {}\n\
             anchors    {}\n\
             boot       {}\n\
             next: any {} of {} run `casemate share seal` on it; then `casemate share push`",
            self.output.display(),
            listed.host.name,
            bundle.site.namespace,
            established.generation,
            bundle.site.seq,
            anchors_digest(&anchors)?.short(),
            claims.hpke_key.short(),
            bundle.root.threshold,
            custodians.join(", "),
        );
        output.result(
            text,
            &serde_json::json!({
                "file": self.output, "host": listed.host.name, "boot": claims.hpke_key,
                "bundle": listed.bundle.digest(), "seq": bundle.site.seq,
                "anchors": anchors_digest(&anchors)?,
                "needed": bundle.root.threshold, "custodians": custodians,
            }),
        );
        Ok(())
    }
}
