//! Fetches locked sources from Debian's signed archive; each file is kept by its hash.

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use casemate_formats::{digest::Digest, manifest};

use crate::{
    apt, cache,
    lock::{Kind, Locked},
    run::{command, output, say},
};

/// A source on this machine.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// What the manifest says of it.
    pub source: manifest::Source,
}

/// What the archive offers of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Debian's version.
    pub version: String,
    /// SHA-256 of the file, from the signed index.
    pub sha256: Digest,
}

/// Debian's archive, opened (its index fetched) when something is needed that the cache lacks.
#[derive(Default)]
pub struct Archive {
    options: OnceCell<Vec<String>>,
}

impl Archive {
    /// The locked file; when the archive no longer offers that version, the newest of its series with
    /// a loud notice, or with `strict` (`--locked`) a refusal.
    ///
    /// # Errors
    /// No network, the version is gone and `strict`, or what came has another hash.
    pub fn fetch(&self, locked: &Locked, strict: bool) -> Result<Fetched> {
        let exact = Offer { version: locked.version.clone(), sha256: locked.sha256 };
        if let Some(path) = cached(locked.sha256)? {
            return Ok(fetched(locked, path, &exact));
        }
        let offers = self.offers(locked)?;
        let newest = choose(&offers, locked, strict)?;
        if newest.sha256 == locked.sha256 {
            return Ok(fetched(locked, self.download(locked, newest)?, newest));
        }
        let line = "*".repeat(78);
        eprintln!(
            "{line}\n* NOT THE LOCKED SOURCE: {} {} is gone from the archive.\n* Taking {} instead; \
             the manifest says so (`locked: false`), and PCR 11 differs.\n* Move the lock with `cargo \
             image lock --update`, or refuse this with --locked.\n{line}",
            locked.name, locked.version, newest.version
        );
        let path = match cached(newest.sha256)? {
            Some(path) => path,
            None => self.download(locked, newest)?,
        };
        Ok(fetched(locked, path, newest))
    }

    /// The newest of the source's series that the archive has.
    ///
    /// # Errors
    /// No network, or nothing of that series.
    pub fn newest(&self, locked: &Locked) -> Result<Offer> {
        newest(&self.offers(locked)?, locked).cloned()
    }

    fn offers(&self, locked: &Locked) -> Result<Vec<Offer>> {
        match locked.kind {
            Kind::Binary => {
                let mut show = self.apt("apt-cache")?;
                Ok(binary_offers(&output(show.args(["show", &locked.package]))?))
            }
            Kind::Source => {
                let mut show = self.apt("apt-cache")?;
                show.args(["showsrc", "--only-source", &locked.package]);
                Ok(source_offers(&output(&mut show)?))
            }
        }
    }

    fn download(&self, locked: &Locked, offer: &Offer) -> Result<PathBuf> {
        let wanted = format!("{}={}", locked.package, offer.version);
        say("sources", &format!("fetching {wanted} (seconds to some minutes: up to 150 MB)"));
        let mut get = self.apt("apt-get")?;
        match locked.kind {
            Kind::Binary => get.args(["download", &wanted]),
            Kind::Source => get.args(["source", "--download-only", "--tar-only", &wanted]),
        };
        let folder = cache::product("sources", &offer.sha256.to_string(), |folder, _| {
            output(get.current_dir(folder)).with_context(|| format!("fetching {wanted}"))?;
            let file = only_file(folder)?;
            match cache::sha256(&file)? {
                found if found == offer.sha256 => Ok(()),
                found => bail!("{wanted}: expected sha256 {}, found {found}", offer.sha256),
            }
        })?;
        only_file(&folder)
    }

    /// A command of apt's on our own state, with the index fetched.
    fn apt(&self, program: &str) -> Result<Command> {
        if self.options.get().is_none() {
            let opened = apt::open()?;
            self.options.get_or_init(|| opened);
        }
        let mut apt = command(program);
        for option in self.options.get().into_iter().flatten() {
            apt.args(["-o", option]);
        }
        Ok(apt)
    }
}

/// The source's file unpacked: a `.deb`'s files, or an archive's content.
///
/// # Errors
/// The file is damaged or the disk is full.
pub fn unpack(file: &Path, into: &Path, log: &Path) -> Result<()> {
    let mut unpack = if file.extension().is_some_and(|e| e == "deb") {
        let mut unpack = command("dpkg-deb");
        unpack.arg("-x").arg(file).arg(into);
        unpack
    } else {
        let mut unpack = command("tar");
        unpack.arg("-C").arg(into).arg("-xf").arg(file);
        unpack
    };
    crate::run::logged(&mut unpack, log)
}

/// systemd-stub out of its package, kept in the cache.
///
/// # Errors
/// The package does not have it.
pub fn stub(package: &Fetched) -> Result<PathBuf> {
    let key = cache::key("stub", &[package.source.sha256.as_ref()]);
    let folder = cache::product("stub", &key, |folder, log| {
        let tree = folder.join("package");
        fs::create_dir(&tree)?;
        unpack(&package.path, &tree, log)?;
        let stub = tree.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub");
        fs::rename(&stub, folder.join("stub.efi"))
            .with_context(|| format!("expected linuxx64.efi.stub in {}", package.path.display()))?;
        fs::remove_dir_all(tree)?;
        Ok(())
    })?;
    Ok(folder.join("stub.efi"))
}

/// The one thing in a folder.
///
/// # Errors
/// There is nothing, or more than one.
pub fn only_file(folder: &Path) -> Result<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    match entries.as_slice() {
        [one] => Ok(one.path()),
        other => bail!("expected one entry in {}, found {}", folder.display(), other.len()),
    }
}

fn cached(sha256: Digest) -> Result<Option<PathBuf>> {
    let folder = cache::root()?.join("sources").join(sha256.to_string());
    if !folder.is_dir() {
        return Ok(None);
    }
    let file = only_file(&folder)?;
    match cache::sha256(&file)? {
        found if found == sha256 => Ok(Some(file)),
        found => bail!(
            "the cached {} has sha256 {found}: the disk or somebody changed it; remove {}",
            file.display(),
            folder.display()
        ),
    }
}

fn fetched(locked: &Locked, path: PathBuf, offer: &Offer) -> Fetched {
    let source = manifest::Source {
        name: locked.name.clone(),
        version: offer.version.clone(),
        sha256: offer.sha256,
        locked: offer.sha256 == locked.sha256,
    };
    Fetched { path, source }
}

/// The locked version where the archive has it, else the newest of its series unless `strict`.
fn choose<'a>(offers: &'a [Offer], locked: &Locked, strict: bool) -> Result<&'a Offer> {
    if let Some(offer) = offers.iter().find(|offer| offer.version == locked.version) {
        if offer.sha256 != locked.sha256 {
            bail!(
                "{} {}: expected sha256 {}, the archive's signed index says {}. One version has one \
                 content: find out who changed it before `cargo image lock --update`",
                locked.name,
                locked.version,
                locked.sha256,
                offer.sha256
            );
        }
        return Ok(offer);
    }
    let newest = newest(offers, locked)?;
    if strict {
        bail!(
            "{}: expected the locked version {}, the archive now has {}. With --locked nothing else \
             is taken; move the lock with `cargo image lock --update`",
            locked.name,
            locked.version,
            newest.version
        );
    }
    Ok(newest)
}

fn newest<'a>(offers: &'a [Offer], locked: &Locked) -> Result<&'a Offer> {
    // apt lists the newest version first.
    offers.iter().find(|offer| offer.version.starts_with(&locked.series)).with_context(|| {
        format!(
            "expected a version {}* of {} in {}, the archive has {:?}",
            locked.series,
            locked.package,
            locked.suite,
            offers.iter().map(|offer| &offer.version).collect::<Vec<_>>()
        )
    })
}

fn binary_offers(text: &str) -> Vec<Offer> {
    let field = |stanza: &str, name: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|stanza| {
            let version = field(stanza, "Version:")?;
            let sha256 = Digest::parse(&field(stanza, "SHA256:")?)?;
            Some(Offer { version, sha256 })
        })
        .collect()
}

fn source_offers(text: &str) -> Vec<Offer> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let version =
                stanza.lines().find_map(|line| line.strip_prefix("Version:"))?.trim().to_owned();
            let hashes = stanza.split_once("Checksums-Sha256:")?.1;
            let line = hashes
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with(' '))
                .find(|line| line.contains(".orig.tar.") && !line.ends_with(".asc"))?;
            let sha256 = Digest::parse(line.split_whitespace().next()?)?;
            Some(Offer { version, sha256 })
        })
        .collect()
}

#[cfg(test)]
mod tests;
