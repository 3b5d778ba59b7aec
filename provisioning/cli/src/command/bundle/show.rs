//! `casemate bundle show`: what a bundle says and who signed it.

use std::path::PathBuf;

use casemate_formats::bundle::{Bundle, armor::fingerprint, signature::Tally};

use crate::{
    output::{Failure, Output},
    site::{Site, bundle_failure, read_envelope},
    words,
};

/// Arguments of `casemate bundle show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle show --site site\n  \
    casemate bundle show --site site --seq 3 --json\n  \
    casemate bundle show --site site from-a-box.bundle")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// Which bundle; otherwise the one with the highest seq.
    #[arg(long, conflicts_with = "file")]
    seq: Option<u64>,
    /// A bundle from elsewhere.
    file: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such bundle, or it is damaged.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let path = self.file.map_or_else(|| super::pick(&site, self.seq), Ok)?;
        let envelope = read_envelope(&path)?;
        let bundle =
            Bundle::decode(&envelope.body).map_err(|error| bundle_failure(&path, &error.into()))?;
        let anchors = site.anchors()?;
        let tally = Tally::count(&envelope.body, &envelope.signatures, &anchors);
        let signers: Vec<String> = tally
            .signers
            .iter()
            .filter_map(|at| anchors.signers.get(*at))
            .map(|blob| fingerprint(blob))
            .collect();
        let lines: Vec<String> =
            bundle.lines().iter().map(|(path, value)| format!("{path} = {value}")).collect();
        let says = words::changes(None, &bundle);
        let text = format!(
            "{}\n\nin words:\n{}\ndigest {}\nsigned by {} of {} needed: {}",
            lines.join("\n"),
            words::list(&says),
            bundle.digest().grouped(),
            signers.len(),
            anchors.threshold,
            if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") },
        );
        output.result(
            text,
            &serde_json::json!({
                "bundle": bundle.to_json(), "digest": bundle.digest(), "signers": signers,
                "needed": anchors.threshold, "says": says,
            }),
        );
        Ok(())
    }
}
