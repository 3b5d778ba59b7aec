//! `casemate bundle build`: the bundle that the directory describes, ready to be signed.

use std::path::PathBuf;

use casemate_formats::bundle::{Envelope, source::Compiled, wire::body_digest};

use crate::{
    output::{Failure, Output},
    site::{Site, Written, bundle_failure, read_envelope, write},
};

/// Arguments of `casemate bundle build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle build --site site\n  \
    casemate bundle build --site site --next    (first takes the next number where that is needed)\n  \
    casemate bundle build --site site --body to-sign.body    (also the bytes to sign elsewhere)")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// Take the next number first, if the present one is signed with another content.
    #[arg(long)]
    next: bool,
    /// Also write the bytes that signers sign, for `ssh-keygen -Y sign -n casemate.bundle.v1`.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

/// A bundle that was built.
#[derive(Debug)]
pub struct Built {
    /// What it says, and what to know.
    pub compiled: Compiled,
    /// Its file.
    pub path: PathBuf,
    /// What became of the file.
    pub written: Written,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The directory does not compile; another body of this seq is signed already.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let built = if self.next { next(&site)? } else { build(&site)? };
        if let Some(out) = &self.body {
            write(out, &built.compiled.bundle.encode())?;
        }
        authorities(&site, &built, output)?;
        for note in &built.compiled.notes {
            output.note(format_args!("note: {note}"));
        }
        let bundle = &built.compiled.bundle;
        output.result(
            format_args!(
                "{}, digest {}\nNext: each signer runs `casemate bundle sign`",
                built.line(),
                bundle.digest().short()
            ),
            &built.json(),
        );
        Ok(())
    }
}

impl Built {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}: seq {}", self.written, self.path.display(), self.compiled.bundle.site.seq)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let bundle = &self.compiled.bundle;
        serde_json::json!({
            "path": self.path, "seq": bundle.site.seq, "digest": bundle.digest(),
            "written": self.written, "notes": self.compiled.notes,
        })
    }
}

/// Builds the bundle under the number that bundle.toml has.
///
/// # Errors
/// The directory does not compile; another body of this seq is signed already.
pub fn build(site: &Site) -> Result<Built, Failure> {
    let compiled = site.compile()?;
    let (seq, body) = (compiled.bundle.site.seq, compiled.bundle.encode());
    let path = site.bundle_path(seq);
    let written = match present(&path)? {
        Some(present) if present.body == body => Written::Same,
        Some(present) if !present.signatures.is_empty() => {
            return Err(Failure::refused(
                "seq-fork",
                format!("another bundle with seq {seq} has signatures already"),
            )
            .expected(format_args!("body {}", body_digest(&present.body)))
            .found(format_args!("body {}", body_digest(&body)))
            .next(
                "`casemate bundle build --next` takes the next number (if that one was never given \
                 to anybody, remove its file)",
            ));
        }
        _ => {
            let envelope = Envelope { body, signatures: Vec::new() };
            let bytes = envelope.encode().map_err(|error| bundle_failure(&path, &error))?;
            write(&path, &bytes)?
        }
    };
    Ok(Built { compiled, path, written })
}

/// The same, under the next number where the present one is signed with another content.
///
/// # Errors
/// The directory does not compile, or bundle.toml cannot be renumbered.
pub fn next(site: &Site) -> Result<Built, Failure> {
    let bundle = site.compile()?.bundle;
    let seq = bundle.site.seq;
    let same = present(&site.bundle_path(seq))?
        .map(|present| (present.body == bundle.encode(), !present.signatures.is_empty()));
    let newest = site.newest_signed(None)?.map_or(0, |newest| newest.bundle().site.seq);
    let taken = match same {
        Some((true, _)) => false,
        Some((false, signed)) => signed || seq <= newest,
        None => seq <= newest,
    };
    if taken {
        let highest = site.bundles()?.last_key_value().map_or(0, |(seq, _)| *seq);
        super::new::take(site, highest.max(newest) + 1)?;
    }
    build(site)
}

/// The next bundle after a command has changed the site's files: a line for people, and for programs.
/// What keeps the site from compiling is for the people who write it, not a failure of that command.
pub fn after_change(site: &Site, output: &Output) -> (String, serde_json::Value) {
    let built = next(site).and_then(|built| {
        authorities(site, &built, output)?;
        Ok(built)
    });
    match built {
        Ok(built) => (format!("{}; next: sign it, push it", built.line()), built.json()),
        Err(failure) => {
            output.note(format_args!("the next bundle cannot be built yet: {failure}"));
            ("next: `casemate bundle check`, build, sign, push".to_owned(), serde_json::Value::Null)
        }
    }
}

fn authorities(site: &Site, built: &Built, output: &Output) -> Result<(), Failure> {
    if let Some(root) = &built.compiled.bundle.root.established {
        let (path, written) = site.write_authorities(root)?;
        if written != Written::Same {
            output.note(format_args!("{written} {}: what clients trust", path.display()));
        }
    }
    Ok(())
}

fn present(path: &std::path::Path) -> Result<Option<Envelope>, Failure> {
    path.exists().then(|| read_envelope(path)).transpose()
}
