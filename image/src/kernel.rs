//! Builds the kernel: Debian's source, the fragment `kernel.config` on top of nothing, and nothing in it
//! that depends on when, where or by whom it was built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    cache,
    lock::Lock,
    run::{command, jobs, logged, say},
    sources::{self, Archive, Fetched},
};

/// The fragment.
pub const CONFIG: &str = include_str!("../kernel.config");
/// Counted up when this file builds something else from the same inputs.
const RECIPE: &str = "1";

/// A built kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The compressed image with its EFI stub.
    pub bz_image: PathBuf,
    /// The configuration it was built from, complete.
    pub config: PathBuf,
}

/// The source that the lock names.
///
/// # Errors
/// It cannot be fetched.
pub fn source(lock: &Lock, archive: &Archive, strict: bool) -> Result<Fetched> {
    archive.fetch(lock.get("linux")?, strict)
}

/// The kernel; built when the cache does not have it.
///
/// # Errors
/// A line of the fragment is not in the resulting configuration, or the build fails.
pub fn build(fetched: &Fetched) -> Result<Kernel> {
    let version = &fetched.source.version;
    let folder = cache::product("kernel", &key(fetched)?, |folder, log| {
        say(
            "kernel",
            &format!(
                "building Linux {version} (4-6 minutes on 2 idle cores, 40 beside other work; log: {})",
                log.display()
            ),
        );
        let work = folder.join("work");
        let tree = unpack(&fetched.path, &work, log)?;
        configure(&tree, log)?;
        logged(make(&tree).arg(jobs()).arg("bzImage"), log)?;
        fs::copy(tree.join("arch/x86/boot/bzImage"), folder.join("bzImage"))?;
        fs::copy(tree.join(".config"), folder.join("config"))?;
        fs::remove_dir_all(&work)?;
        Ok(())
    })?;
    Ok(Kernel { bz_image: folder.join("bzImage"), config: folder.join("config") })
}

/// The complete configuration of the kernel that [`build`] would build, without building it: the built
/// one's when there is one.
///
/// # Errors
/// As [`build`].
pub fn config(fetched: &Fetched) -> Result<PathBuf> {
    let key = key(fetched)?;
    let built = cache::root()?.join("kernel").join(&key).join("config");
    if built.is_file() {
        return Ok(built);
    }
    let folder = cache::product("kernel-config", &key, |folder, log| {
        say("kernel", &format!("configuring it (about 1 minute; log: {})", log.display()));
        let work = folder.join("work");
        let tree = unpack(&fetched.path, &work, log)?;
        configure(&tree, log)?;
        fs::copy(tree.join(".config"), folder.join("config"))?;
        fs::remove_dir_all(&work)?;
        Ok(())
    })?;
    Ok(folder.join("config"))
}

/// The name of the kernel in the cache: a hash of source, fragment, recipe and compiler.
///
/// # Errors
/// There is no compiler.
pub fn key(fetched: &Fetched) -> Result<String> {
    let tools = ["gcc", "ld"].map(crate::manifest::tool_version);
    let [gcc, ld] = tools;
    let (gcc, ld) = (gcc?, ld?);
    let parts: [&[u8]; 5] = [
        RECIPE.as_bytes(),
        fetched.source.sha256.as_ref(),
        CONFIG.as_bytes(),
        gcc.as_bytes(),
        ld.as_bytes(),
    ];
    Ok(cache::key("kernel", &parts))
}

/// What of the fragment is not so in a complete configuration: Kconfig drops what it cannot satisfy.
#[must_use]
pub fn unmet(fragment: &str, config: &str) -> Vec<String> {
    let set: Vec<&str> = config.lines().collect();
    fragment
        .lines()
        .filter(|line| match unset_symbol(line) {
            Some(symbol) => set.iter().any(|l| l.strip_prefix(symbol).is_some_and(is_value)),
            None => line.starts_with("CONFIG_") && !set.contains(line),
        })
        .map(ToOwned::to_owned)
        .collect()
}

/// `CONFIG_X` of `# CONFIG_X is not set`.
fn unset_symbol(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set").filter(|s| s.starts_with("CONFIG_"))
}

fn is_value(rest: &str) -> bool {
    rest.starts_with('=')
}

fn unpack(deb: &Path, work: &Path, log: &Path) -> Result<PathBuf> {
    let (package, tree) = (work.join("package"), work.join("tree"));
    fs::create_dir_all(&package)?;
    fs::create_dir_all(&tree)?;
    sources::unpack(deb, &package, log)?;
    let sources = package.join("usr/src");
    let archive = fs::read_dir(&sources)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with(".tar.xz"));
    let Some(archive) = archive else {
        bail!("expected usr/src/linux-source-*.tar.xz in {}, found none", deb.display())
    };
    sources::unpack(&archive, &tree, log)?;
    fs::remove_dir_all(&package)?;
    sources::only_file(&tree)
}

fn configure(tree: &Path, log: &Path) -> Result<()> {
    let fragment = tree.join("casemate.config");
    fs::write(&fragment, CONFIG)?;
    let all = format!("KCONFIG_ALLCONFIG={}", fragment.display());
    logged(make(tree).args([&all, "allnoconfig"]), log)?;
    let unmet = unmet(CONFIG, &fs::read_to_string(tree.join(".config"))?);
    if !unmet.is_empty() {
        bail!(
            "image/kernel.config: expected every line in the kernel's .config, these are not:\n  {}\n\
             Each needs another symbol first, was renamed, or is selected by something",
            unmet.join("\n  ")
        );
    }
    Ok(())
}

fn make(tree: &Path) -> Command {
    let mut make = command("make");
    make.current_dir(tree)
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("KBUILD_BUILD_USER", "casemate")
        .env("KBUILD_BUILD_HOST", "casemate")
        .env("KBUILD_BUILD_VERSION", "1")
        .env("SOURCE_DATE_EPOCH", "0");
    make
}

#[cfg(test)]
mod tests;
