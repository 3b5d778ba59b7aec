//! `casemate share bundle`: the newest bundle that a custodian saw, for ops who lost everything.

use std::path::PathBuf;

use crate::{
    custody::{Age, Kept, review::anchors_digest},
    output::{Failure, Output},
    site::{not_in_place_of, write},
};

/// Takes the newest bundle that you saw out of your share file, and the anchors that you believe. Both
/// are public: with them ops make the site's directory again (`casemate bundle fetch --file`).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share bundle ann.share.age --identity key.txt -o site.bundle --anchors-to anchors")]
pub struct Command {
    /// Your share file.
    share: PathBuf,
    #[command(flatten)]
    age: Age,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where the anchors go.
    #[arg(long, value_name = "FILE")]
    anchors_to: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// It does not open, or holds no bundle.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        for path in [Some(&self.output), self.anchors_to.as_ref()].into_iter().flatten() {
            not_in_place_of(path, &[&self.share, &self.age.identity])?;
        }
        let kept = Kept::open(&self.share, &self.age)?;
        let Some(seen) = kept.seen()? else {
            return Err(Failure::refused("no-bundle", "this share file holds no bundle yet")
                .next("ask another custodian, or a box: `casemate bundle fetch --address`"));
        };
        let written = write(&self.output, &kept.file.bundle)?;
        let mut text = format!(
            "{written} {}: bundle {} of {}, digest {}",
            self.output.display(),
            seen.site.seq,
            seen.site.namespace,
            seen.digest().short()
        );
        let mut anchors = None;
        if let Some(path) = &self.anchors_to {
            let known = kept.anchors(None)?;
            let written = write(path, &kept.file.anchors)?;
            let digest = anchors_digest(&known)?;
            text += &format!("\n{written} {}: anchors {}", path.display(), digest.short());
            anchors = Some(digest);
        }
        output.result(
            text,
            &serde_json::json!({
                "file": self.output, "seq": seen.site.seq, "bundle": seen.digest(),
                "namespace": seen.site.namespace, "anchors": anchors,
            }),
        );
        Ok(())
    }
}
