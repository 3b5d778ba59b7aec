//! `casemate bundle build`: the bundle that the directory describes, ready to be signed.

use std::path::PathBuf;

use casemate_formats::bundle::{Envelope, wire::body_digest};

use crate::{
    output::{Failure, Output},
    site::{Site, Written, bundle_failure, read_envelope, write},
};

/// Arguments of `casemate bundle build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle build --site site\n  \
    casemate bundle build --site site --body to-sign.body    (also the bytes to sign elsewhere)")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// Also write the bytes that signers sign, for `ssh-keygen -Y sign -n casemate.bundle.v1`.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The directory does not compile; another body of this seq is signed already.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let compiled = site.compile()?;
        let (bundle, body) = (&compiled.bundle, compiled.bundle.encode());
        let seq = bundle.site.seq;
        let path = site.bundle_path(seq);
        let present = path.exists().then(|| read_envelope(&path)).transpose()?;
        let written = match present {
            Some(present) if present.body == body => Written::Same,
            Some(present) if !present.signatures.is_empty() => {
                return Err(Failure::refused(
                    "seq-fork",
                    format!("another bundle with seq {seq} has signatures already"),
                )
                .expected(format_args!("body {}", body_digest(&present.body)))
                .found(format_args!("body {}", body_digest(&body)))
                .next(
                    "`casemate bundle new` takes the next number (if that one was never given \
                       to anybody, remove its file)",
                ));
            }
            _ => {
                let envelope = Envelope { body: body.clone(), signatures: Vec::new() };
                let bytes = envelope.encode().map_err(|error| bundle_failure(&path, &error))?;
                write(&path, &bytes)?
            }
        };
        if let Some(out) = &self.body {
            write(out, &body)?;
        }
        if let Some(root) = &bundle.root.established {
            let (path, written) = site.write_authorities(root)?;
            output.note(format_args!("{written} {}: what clients trust", path.display()));
        }
        for note in &compiled.notes {
            output.note(format_args!("note: {note}"));
        }
        output.result(
            format_args!(
                "{written} {}: seq {seq}, digest {}\nNext: each signer runs `casemate bundle sign`",
                path.display(),
                bundle.digest().short()
            ),
            &serde_json::json!({
                "path": path, "seq": seq, "digest": bundle.digest(), "written": written,
                "notes": compiled.notes,
            }),
        );
        Ok(())
    }
}
