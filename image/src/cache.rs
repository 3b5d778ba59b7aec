//! The cache outside the checkout: each product in a folder named by the hash of everything that it
//! was made from, made once and never changed. Safe against several builds at a time.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use casemate_formats::digest::{Digest, hex, tagged};

use crate::run::say;

/// `$XDG_CACHE_HOME/casemate`, by default `~/.cache/casemate`.
///
/// # Errors
/// Neither variable is set.
pub fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(
            std::env::var_os("HOME").context("expected HOME or XDG_CACHE_HOME, found neither")?,
        )
        .join(".cache"),
    };
    Ok(base.join("casemate"))
}

/// A key from what a product is made of.
#[must_use]
pub fn key(kind: &str, parts: &[&[u8]]) -> String {
    hex(&tagged(&format!("cache-{kind}"), parts).0[..16])
}

/// The folder of a product, made by `make` when it is not there yet. `make` fills an empty folder that
/// becomes the product when it succeeds; a failed one leaves nothing behind but its log.
///
/// # Errors
/// What `make` reports, or the cache cannot be written.
pub fn product(
    kind: &str,
    key: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = root()?.join(kind);
    let done = folder.join(key);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("the cache {} cannot be made", folder.display()))?;
    let _lock = lock(&folder.join(format!("{key}.lock")))?;
    if done.is_dir() {
        return Ok(done);
    }
    let partial = folder.join(format!("{key}.partial"));
    let log = folder.join(format!("{key}.log"));
    // Left by a build that was cut off: it held the lock that we hold now.
    for old in [&partial, &log] {
        if old.exists() {
            if old.is_dir() { fs::remove_dir_all(old) } else { fs::remove_file(old) }?;
        }
    }
    fs::create_dir(&partial)?;
    make(&partial, &log).inspect_err(|_| drop(fs::remove_dir_all(&partial)))?;
    fs::rename(&partial, &done)?;
    drop(fs::remove_file(&log));
    Ok(done)
}

/// Holds an exclusive lock on a file until dropped; says so when it must wait for another build.
///
/// # Errors
/// The file cannot be made.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    if file.try_lock().is_err() {
        say("cache", &format!("another build holds {}: waiting for it", path.display()));
        file.lock()?;
    }
    Ok(file)
}

/// SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> Result<Digest> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Digest::sha256(&bytes))
}
