//! `casemate site signers`: who signs bundles. They stand in the anchors, so in every image.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_formats::{
    anchors::Anchors,
    bundle::armor::{fingerprint, parse_public_key},
};

use super::init;
use crate::{
    custody::review::anchors_digest,
    output::{Failure, Output},
    site::{Site, edit},
    words,
};

/// Changes who signs bundles: site.toml and the anchors. Boxes learn of it by a new image alone; the
/// bundle that lists that image is signed by the former signers and by the new ones. The former anchors
/// are kept. Custodians are shown the new anchors and accept them by their fingerprint, which this
/// prints: read it to them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate site signers --site site --drop bob.pub --add eve.pub\n  \
    casemate site signers --site site --only eve.pub --only fay.pub --threshold 2\n  \
    casemate site signers --site site        (shows them)\n\n\
    Then build an image with the new anchors.")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// SSH public key (file) of somebody who signs from now on; once for each.
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// SSH public key (file) of somebody who signs no more; once for each.
    #[arg(long, value_name = "FILE")]
    drop: Vec<PathBuf>,
    /// SSH public key (file) of one of those who sign from now on, and nobody else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["add", "drop"])]
    only: Vec<PathBuf>,
    /// How many of them a bundle needs; otherwise as before, or all if they are fewer.
    #[arg(long, value_name = "M")]
    threshold: Option<u8>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// A file is no public key, or of nobody who signs; the threshold does not fit; the Secure Boot variables are missing.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let before = site.anchors()?;
        let source = site.source()?;
        let mut keys = if self.only.is_empty() { source.signers.clone() } else { Vec::new() };
        let blob = |line: &str| parse_public_key(line).ok();
        let dropped = read(&self.drop)?;
        let ever: Vec<_> = site.anchors_ever()?.into_iter().flat_map(|a| a.signers).collect();
        for (path, line) in self.drop.iter().zip(&dropped) {
            // Said of somebody else, it would let the one who leaves stay.
            if !blob(line).is_some_and(|blob| ever.contains(&blob)) {
                return Err(Failure::refused("no-such-signer", "nobody with this key signs")
                    .expected(list_of(&before))
                    .found(path.display())
                    .next("`casemate site signers` shows who signs"));
            }
        }
        keys.retain(|line| !dropped.iter().any(|gone| blob(gone) == blob(line)));
        for line in read(&self.add)?.into_iter().chain(read(&self.only)?) {
            if !keys.iter().any(|known| blob(known) == blob(&line)) {
                keys.push(line);
            }
        }
        let most = u8::try_from(keys.len()).unwrap_or(u8::MAX);
        let threshold = self.threshold.unwrap_or(source.threshold.min(most));
        site.edit_site(|document| {
            let table = document.as_table_mut();
            if threshold != source.threshold {
                edit::set(table, "threshold", i64::from(threshold));
            }
            if keys != source.signers {
                edit::set(table, "signers", edit::lines(keys.clone()));
            }
            Ok(())
        })?;
        let (anchors, written) = init::write_anchors(&self.site)?;
        let digest = anchors_digest(&anchors)?;
        let list = words::signers(&anchors);
        let former: Vec<String> = before
            .signers
            .iter()
            .filter(|blob| !anchors.signers.contains(blob))
            .map(|blob| fingerprint(blob))
            .collect();
        let mut text = format!(
            "{written} anchors: {} of\n  {}\nanchors {}",
            anchors.threshold,
            list.join("\n  "),
            digest.grouped(),
        );
        if !former.is_empty() {
            text += &format!("\nno longer: {}", former.join(", "));
        }
        text += "\nnext: build an image with these anchors and list it; read the fingerprint to the custodians";
        output.result(
            text,
            &serde_json::json!({
                "threshold": anchors.threshold, "signers": list, "former": former,
                "anchors": digest, "fingerprint": digest.grouped(), "written": written,
            }),
        );
        Ok(())
    }
}

fn list_of(anchors: &Anchors) -> String {
    words::signers(anchors).join(", ")
}

fn read(paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
    paths.iter().map(|path| line(path)).collect()
}

fn line(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let line = text.trim().to_owned();
    parse_public_key(&line).map_err(|error| {
        Failure::refused("out-of-range", format!("{}: {error}", path.display()))
            .expected("an SSH public key: Ed25519 or ECDSA P-256, sk forms included")
            .next("give the .pub file")
    })?;
    Ok(line)
}
