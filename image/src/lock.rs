//! `sources.lock`: which version of each source, by hash. Nothing else decides what is built from.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use casemate_formats::digest::Digest;
use serde::{Deserialize, Serialize};

const HEADER: &str = "\
# What the image is made of: fetched from Debian's signed archive, checked by hash.
# Move it with `cargo image lock --update`; builds with `--locked` take nothing else.
";

/// The lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Each source once.
    pub source: Vec<Locked>,
}

/// One locked source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Casemate's name for it.
    pub name: String,
    /// Debian release that has it.
    pub suite: String,
    /// Debian's package.
    pub package: String,
    /// What is fetched of it.
    pub kind: Kind,
    /// Versions start with this; another series is another decision.
    pub series: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the fetched file.
    pub sha256: Digest,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The binary package (`.deb`).
    Binary,
    /// The source package's upstream archive (`.orig.tar.*`).
    Source,
}

impl Lock {
    /// Where it lies in a checkout.
    pub const FILE: &'static str = "image/sources.lock";

    /// Reads it.
    ///
    /// # Errors
    /// It is missing, or not of this form, or names a source twice or of a foreign series.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("expected the lock file {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a lock file", file.display()))
    }

    /// Parses its text.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text)?;
        for (at, source) in lock.source.iter().enumerate() {
            if lock.source[..at].iter().any(|other| other.name == source.name) {
                bail!("expected each source once, found {} twice", source.name);
            }
            if !source.version.starts_with(&source.series) {
                bail!(
                    "expected a version {}* of {}, found {}: change `series` on purpose",
                    source.series,
                    source.name,
                    source.version
                );
            }
        }
        Ok(lock)
    }

    /// The source of that name.
    ///
    /// # Errors
    /// The lock does not have it.
    pub fn get(&self, name: &str) -> Result<&Locked> {
        self.source
            .iter()
            .find(|source| source.name == name)
            .with_context(|| format!("expected a source `{name}` in {}, found none", Self::FILE))
    }

    /// Its text.
    ///
    /// # Errors
    /// Never in practice: every value has a TOML form.
    pub fn to_text(&self) -> Result<String> {
        Ok(format!("{HEADER}\n{}", toml::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../sources.lock");

    #[test]
    fn the_committed_lock_is_read_and_written_the_same() {
        let lock = Lock::parse(COMMITTED).unwrap();
        assert_eq!(lock.to_text().unwrap(), COMMITTED);
        for name in ["linux", "tpm2-tss", "systemd-stub"] {
            assert!(lock.get(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn doubled_foreign_and_unknown_entries_are_refused() {
        let twice = format!("{COMMITTED}\n{}", &COMMITTED[COMMITTED.find("[[").unwrap()..]);
        assert!(Lock::parse(&twice).unwrap_err().to_string().contains("twice"));
        let foreign = COMMITTED.replace("\"6.12.117-1\"", "\"6.13.1-1\"");
        assert!(Lock::parse(&foreign).unwrap_err().to_string().contains("on purpose"));
        assert!(Lock::parse(&COMMITTED.replace("series", "serie")).is_err());
        assert!(Lock::parse(&COMMITTED.replace("sha256 = \"9", "sha256 = \"x")).is_err());
    }
}
