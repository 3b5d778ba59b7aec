//! `casemate bundle diff`: what changes from one bundle to another.

use std::path::{Path, PathBuf};

use casemate_formats::bundle::Bundle;

use crate::{
    output::{Failure, Output},
    site::{Site, bundle_failure, read_envelope},
    words,
};

/// Arguments of `casemate bundle diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle diff --site site\n  \
    casemate bundle diff --site site bundles/000002.bundle bundles/000003.bundle")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// The older bundle; otherwise the newest signed one.
    old: Option<PathBuf>,
    /// The newer bundle; otherwise what the directory describes.
    new: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// A bundle is missing or damaged, or the directory does not compile.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let older = match &self.old {
            Some(path) => Some(read(path)?),
            None => site.newest_signed(None)?.map(|verified| verified.bundle().clone()),
        };
        let newer = match &self.new {
            Some(path) => read(path)?,
            None => site.compile()?.bundle,
        };
        let lines = match &older {
            Some(older) => newer.difference(older),
            None => {
                newer.lines().iter().map(|(path, value)| format!("+ {path} = {value}")).collect()
            }
        };
        let changes = words::changes(older.as_ref(), &newer);
        let text = match (lines.is_empty(), changes.is_empty()) {
            (true, _) => "no difference".to_owned(),
            (false, true) => lines.join("\n"),
            (false, false) => {
                format!(
                    "in words:\n{}\nvalue by value:\n{}",
                    words::list(&changes),
                    lines.join("\n")
                )
            }
        };
        output.result(
            text,
            &serde_json::json!({
                "old": older.map(|older| older.site.seq), "new": newer.site.seq, "lines": lines,
                "changes": changes,
            }),
        );
        Ok(())
    }
}

fn read(path: &Path) -> Result<Bundle, Failure> {
    let envelope = read_envelope(path)?;
    Bundle::decode(&envelope.body).map_err(|error| bundle_failure(path, &error.into()))
}
