//! `casemate site init`: signers, custodians and Secure Boot keys of a site, in a directory for git.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        armor,
        source::{SiteSource, format_time},
    },
    code::Code,
    digest::Digest,
    share::age::parse_recipient,
};

use super::secure_boot::{self, Keys};
use crate::{
    output::{Failure, Output},
    site::{Problems, Site, Written, template, write},
};

/// Arguments of `casemate site init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate site init site --namespace example \\\n      \
        --signer ann.pub --signer bob.pub --threshold 2 \\\n      \
        --custodian ann=age1… --custodian bob=age1… --custodian cyd=age1… --custodian-threshold 2\n  \
    casemate site init site          (again: writes the anchors after a change of site.toml)")]
pub struct Command {
    /// The directory.
    dir: PathBuf,
    /// Name of the site, for ever.
    #[arg(long)]
    namespace: Option<String>,
    /// SSH public key (file) of somebody who signs bundles; once for each.
    #[arg(long = "signer", value_name = "FILE")]
    signers: Vec<PathBuf>,
    /// How many signers a bundle needs [default: all, at most 2].
    #[arg(long, value_name = "M")]
    threshold: Option<u8>,
    /// Who holds a share of the root key: name and age recipient; once for each.
    #[arg(long = "custodian", value_name = "NAME=AGE1…")]
    custodians: Vec<String>,
    /// How many custodians can bring the root back [default: more than half].
    #[arg(long, value_name = "K")]
    custodian_threshold: Option<u8>,
    /// TCP port of the boxes.
    #[arg(long, default_value_t = 8443)]
    port: u16,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// Something is missing for a new site; or site.toml, keys and certificates do not fit each other.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let dir = self.dir.clone();
        let new = !dir.join("site.toml").exists();
        let mut written: Vec<(PathBuf, Written)> = Vec::new();
        if new {
            let (site, bundle) = self.sources()?;
            let mut put = |name: &str, text: &str| -> Result<(), Failure> {
                let path = dir.join(name);
                // What somebody wrote before stays; .gitignore must hold before any key exists.
                if name == ".gitignore" || !path.exists() {
                    written.push((path.clone(), write(&path, text.as_bytes())?));
                }
                Ok(())
            };
            put(".gitignore", template::GITIGNORE)?;
            put("README.md", template::README)?;
            put("bundle.toml", &bundle)?;
            put("images.toml", template::IMAGES)?;
            put("site.toml", &site)?;
        } else {
            self.unchanged(&Site::open(&dir)?)?;
        }
        let (anchors, bytes) = complete(&dir, &mut written)?;
        report(&dir, &anchors, &bytes, &written, output);
        Ok(())
    }

    fn sources(&self) -> Result<(String, String), Failure> {
        let namespace = self.namespace.as_ref().ok_or_else(|| missing("--namespace NAME"))?;
        if self.signers.is_empty() {
            return Err(missing("--signer FILE, once for each signer"));
        }
        if self.custodians.is_empty() {
            return Err(missing("--custodian NAME=AGE1…, once for each custodian"));
        }
        let mut signers = Vec::new();
        for path in &self.signers {
            let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            signers.push(text.trim().to_owned());
        }
        let threshold = self.threshold.unwrap_or(if signers.len() > 1 { 2 } else { 1 });
        let site = template::site(namespace, threshold, &signers);
        let parsed = SiteSource::parse(&site)
            .map_err(|error| Failure::environment("site-toml", error.to_string()))?;
        parsed.compile().map_err(Problems::from)?;
        let mut custodians = Vec::new();
        for text in &self.custodians {
            let (name, recipient) = text.split_once('=').unwrap_or((text, ""));
            if parse_recipient(recipient).is_err() {
                return Err(Failure::refused(Code::OutOfRange.slug(), "this is no custodian")
                    .expected("NAME=age1…, an age recipient (X25519)")
                    .found(text)
                    .next("`age-keygen -y IDENTITY` prints the recipient of an identity"));
            }
            custodians.push((name.to_owned(), recipient.to_owned()));
        }
        let half = u8::try_from(custodians.len() / 2 + 1).unwrap_or(u8::MAX);
        let threshold = self.custodian_threshold.unwrap_or(half);
        if threshold == 0 || usize::from(threshold) > custodians.len() {
            return Err(Failure::refused(Code::OutOfRange.slug(), "--custodian-threshold")
                .expected(format_args!("1 to {}, the number of custodians", custodians.len()))
                .found(threshold)
                .next("at least 2 where there are 2: k custodians together hold the root"));
        }
        let issued = format_time(now()?);
        Ok((site, template::bundle(&issued, self.port, threshold, &custodians)))
    }

    /// The options of an existing site say the same as its files, where they are given.
    fn unchanged(&self, site: &Site) -> Result<(), Failure> {
        let source = site.source()?;
        let differs = |option: &str, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(Failure::refused("site-exists", format!("{option} differs from site.toml"))
                .expected(expected)
                .found(found)
                .next("change site.toml, then run `casemate site init` without that option"))
        };
        if let Some(namespace) = &self.namespace {
            differs("--namespace", namespace.clone(), source.namespace.clone())?;
        }
        if let Some(threshold) = self.threshold {
            differs("--threshold", threshold.to_string(), source.threshold.to_string())?;
        }
        for path in &self.signers {
            let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            let listed = source.signers.iter().any(|line| line.trim() == text.trim());
            if !listed {
                differs("--signer", text.trim().to_owned(), source.signers.join("; "))?;
            }
        }
        Ok(())
    }
}

/// Writes the anchors of a site again from its files.
///
/// # Errors
/// site.toml, keys and certificates do not fit each other.
pub(super) fn write_anchors(dir: &Path) -> Result<(Anchors, Written), Failure> {
    let mut written = Vec::new();
    let (anchors, _) = complete(dir, &mut written)?;
    Ok((anchors, written.pop().map_or(Written::Same, |(_, written)| written)))
}

/// Secure Boot keys as far as they are missing, then the anchors; the anchors come last in `written`.
fn complete(
    dir: &Path,
    written: &mut Vec<(PathBuf, Written)>,
) -> Result<(Anchors, Vec<u8>), Failure> {
    let keys = secure_boot::complete(dir, now()?, written)?;
    let site = Site::open(dir)?;
    let anchors = anchors(&site, keys)?;
    let bytes = anchors.encode().map_err(|error| {
        Failure::refused("anchors", error.to_string()).next("check secure-boot/*.auth")
    })?;
    written.push((site.path("anchors"), site.write_anchors(&bytes)?));
    Ok((anchors, bytes))
}

fn anchors(site: &Site, keys: Keys) -> Result<Anchors, Failure> {
    let signers = site.source()?.compile().map_err(Problems::from)?;
    let Keys { pk, kek, db } = keys;
    let (namespace, threshold) = (signers.namespace, signers.threshold);
    Ok(Anchors { namespace, threshold, signers: signers.signers, pk, kek, db })
}

fn report(
    dir: &Path,
    anchors: &Anchors,
    bytes: &[u8],
    written: &[(PathBuf, Written)],
    output: &Output,
) {
    let files: Vec<String> =
        written.iter().map(|(path, written)| format!("{written} {}", path.display())).collect();
    let signers: Vec<String> =
        anchors.signers.iter().map(|blob| format!("  {}", armor::fingerprint(blob))).collect();
    let text = format!(
        "{}\n\nsite {}: {} of {} signers\n{}\nanchors {}\n\n\
         private/ holds the Secure Boot keys: move them off this machine (db.key to where images are\n\
         signed, PK.key and KEK.key to a safe). Everything else belongs into git.\n\n\
         Next: build an image with {}/anchors, add it (`casemate bundle add-image`), boot a box,\n\
         and list it (`casemate host add`).",
        files.join("\n"),
        anchors.namespace,
        anchors.threshold,
        anchors.signers.len(),
        signers.join("\n"),
        Digest::sha256(bytes),
        dir.display(),
    );
    output.result(
        text,
        &serde_json::json!({
            "namespace": anchors.namespace,
            "threshold": anchors.threshold,
            "signers": anchors.signers.iter().map(|blob| armor::fingerprint(blob)).collect::<Vec<_>>(),
            "anchors": Digest::sha256(bytes),
            "files": written.iter().map(|(path, written)| serde_json::json!({
                "path": path, "written": written,
            })).collect::<Vec<_>>(),
        }),
    );
}

fn missing(option: &str) -> Failure {
    Failure::environment("usage", "a new site needs more than that")
        .expected(option)
        .next("`casemate site init --help` has an example")
}

pub(super) fn now() -> Result<u64, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|time| time.as_secs()).map_err(|_| {
        Failure::environment("clock", "this machine's clock is before 1970").next("set it")
    })
}
