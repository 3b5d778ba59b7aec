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
    product_in(&root()?.join(kind), key, make)
}

fn product_in(
    folder: &Path,
    key: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let done = folder.join(key);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(folder)
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use anyhow::bail;

    use super::*;

    #[test]
    fn eight_builds_at_once_make_a_product_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let product = product_in(folder.path(), "key", |partial, _| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(std::time::Duration::from_millis(30));
                        Ok(fs::write(partial.join("file"), "whole")?)
                    });
                    let file = product.unwrap().join("file");
                    assert_eq!(fs::read_to_string(file).unwrap(), "whole");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_failed_or_cut_off_build_leaves_no_product_and_the_next_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let failed = product_in(folder.path(), "key", |partial, log| {
            fs::write(partial.join("half"), "")?;
            fs::write(log, "why")?;
            bail!("no")
        });
        assert!(failed.is_err() && !folder.path().join("key").exists());
        assert_eq!(fs::read_to_string(folder.path().join("key.log")).unwrap(), "why");
        fs::create_dir_all(folder.path().join("key.partial/rest of a killed build")).unwrap();
        let product = product_in(folder.path(), "key", |partial, _| {
            assert_eq!(fs::read_dir(partial)?.count(), 0);
            Ok(())
        });
        assert!(product.unwrap().is_dir());
        assert!(!folder.path().join("key.log").exists());
    }

    #[test]
    fn a_key_depends_on_each_part_and_on_their_borders() {
        let base = key("kind", &[b"ab", b"c"]);
        assert_ne!(base, key("kind", &[b"a", b"bc"]));
        assert_ne!(base, key("other", &[b"ab", b"c"]));
        assert_eq!(base.len(), 32);
    }
}
