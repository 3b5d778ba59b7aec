//! `casemate share check`: practice without a box. Whether a share opens, what it is of, and whether a
//! bundle still has it in force.

use std::path::PathBuf;

use casemate_formats::bundle::{Bundle, Verified};

use crate::{
    custody::{Age, Kept},
    output::{Failure, Output},
    site::{bundle_failure, read_bounded},
    words,
};

/// Decrypts your share file and says what it is of; then whether a bundle (the newest that the file
/// remembers, or --bundle) still has that share in force. Nothing is written and no box is asked: do
/// this once a year, with the identity that you would use.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share check example-1-1-ann.share.age --identity ~/.config/age/key.txt\n  \
    casemate share check ann.share.age --identity key.txt --bundle site/bundles/000007.bundle")]
pub struct Command {
    /// Your share file.
    share: PathBuf,
    #[command(flatten)]
    age: Age,
    /// A bundle to check it against, in place of the one that it remembers.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The site's anchors, for a share file that does not hold any yet.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// It does not open; the bundle is not signed by those whom it believes; the bundle has another
    /// root or split in force.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let kept = Kept::open(&self.share, &self.age)?;
        let seen = kept.seen()?;
        let given = match &self.bundle {
            None => None,
            Some(path) => {
                let anchors = kept.anchors(self.anchors.as_deref())?;
                let bytes = read_bounded(path, casemate_formats::limits::BUNDLE_BYTES)?;
                let verified = Verified::verify(&bytes, &anchors)
                    .map_err(|error| bundle_failure(path, &error))?;
                Some(verified.bundle().clone())
            }
        };
        let file = &kept.file;
        let bundle = given.as_ref().or(seen.as_ref());
        let whose = bundle.or(seen.as_ref()).and_then(|bundle| kept.custodian(bundle));
        let mut text = format!(
            "it opens: {} of root {} of {} (split {}; {} needed)\n\
             fingerprint  {}\ncommitment   {}",
            whose.map_or_else(|| "a share".to_owned(), |c| format!("{}'s share", c.name)),
            file.generation,
            file.namespace,
            file.split,
            file.threshold,
            file.fingerprint.short(),
            file.share.commitment().short(),
        );
        let standing = standing(&kept, bundle);
        text += &match (&standing, bundle) {
            (Ok(word), Some(bundle)) => format!("\n{word} bundle {}", bundle.site.seq),
            _ => "\nno bundle to check it against: --bundle FILE".to_owned(),
        };
        if let (Some(given), Some(seen)) = (&given, &seen) {
            for change in words::changes(Some(seen), given) {
                text += &format!("\n  since bundle {}: {change}", seen.site.seq);
            }
        }
        let standing = standing?;
        output.result(
            text,
            &serde_json::json!({
                "namespace": file.namespace, "generation": file.generation, "split": file.split,
                "needed": file.threshold, "fingerprint": file.fingerprint,
                "commitment": file.share.commitment(), "custodian": whose.map(|c| &c.name),
                "bundle": bundle.map(|bundle| bundle.site.seq),
                "seen": seen.as_ref().map(|seen| seen.site.seq),
                "standing": bundle.map(|_| standing),
            }),
        );
        Ok(())
    }
}

/// Whether the bundle takes it: `in force under`, or `awaited by` one that still asks for it.
fn standing(kept: &Kept, bundle: Option<&Bundle>) -> Result<&'static str, Failure> {
    let Some(bundle) = bundle else { return Ok("") };
    let asked = bundle.root.asked();
    let of_this = (kept.file.generation, kept.file.split);
    if asked.is_some_and(|asked| (asked.generation, asked.split) == of_this) {
        return Ok("not in force yet; asked for by");
    }
    match kept.file.is_of(&bundle.root) {
        Ok(()) => Ok("in force under"),
        Err(code) => {
            let root = &bundle.root;
            let expected = root.established.as_ref().map_or(0, |known| known.generation);
            Err(Failure::from(code)
                .expected(format_args!(
                    "a share of root {expected} (split {}), as bundle {} has it in force",
                    root.split, bundle.site.seq
                ))
                .found(format_args!(
                    "a share of root {} (split {})",
                    kept.file.generation, kept.file.split
                ))
                .next(
                    "it opens no box any more and is still dangerous together with others of its \
                     kind: keep it safe until ops say that it may be destroyed",
                ))
        }
    }
}
