//! Builds tpm2-tss into two static prefixes: `tests` (device and swtpm) and `firmware` (device only,
//! no log). Patched against the lost leading zeros of its mbed TLS backend.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cache,
    lock::Lock,
    run::{command, jobs, logged, say},
    sources::{self, Archive, Fetched},
};

/// Each patch must apply without fuzz, or the build ends.
const PATCHES: [(&str, &str); 2] = [
    (
        "tpm2-tss-ecdh-leading-zeros.patch",
        include_str!("../patches/tpm2-tss-ecdh-leading-zeros.patch"),
    ),
    ("tpm2-tss-close-on-exec.patch", include_str!("../patches/tpm2-tss-close-on-exec.patch")),
];
/// Counted up when this file builds something else from the same inputs.
const RECIPE: &str = "1";
const FLAGS: [&str; 17] = [
    "--disable-shared",
    "--enable-static",
    "--enable-nodl",
    "--disable-fapi",
    "--disable-policy",
    "--disable-doxygen-doc",
    "--with-crypto=mbed",
    "--disable-tcti-pcap",
    "--disable-tcti-cmd",
    "--disable-tcti-libtpms",
    "--disable-tcti-mssim",
    "--disable-tcti-spi-helper",
    "--disable-tcti-spi-ltt2go",
    "--disable-tcti-spidev",
    "--disable-tcti-spi-ftdi",
    "--disable-tcti-i2c-helper",
    "--disable-tcti-i2c-ftdi",
];

/// For whom the TSS is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The developer's machine: with the swtpm TCTI.
    Tests,
    /// The firmware: device TCTI alone, and no way to log.
    Firmware,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Firmware => "firmware",
        }
    }

    fn all_flags(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Tests => &[],
            Self::Firmware => &["--disable-tcti-swtpm", "--with-maxloglevel=none"],
        };
        [&FLAGS, own].concat()
    }
}

/// The source that the lock names.
///
/// # Errors
/// It cannot be fetched.
pub fn source(lock: &Lock, archive: &Archive, strict: bool) -> Result<Fetched> {
    archive.fetch(lock.get("tpm2-tss")?, strict)
}

/// The name of a variant in the cache: a hash of source, patches, recipe, flags, compiler and mbed TLS.
///
/// # Errors
/// There is no compiler, or no mbed TLS.
pub fn key(fetched: &Fetched, variant: Variant) -> Result<String> {
    let flags = variant.all_flags();
    let compiler = crate::manifest::tool_version("gcc")?;
    let mbedtls = crate::manifest::package_version("libmbedtls-dev")?;
    let mut parts: Vec<&[u8]> = vec![RECIPE.as_bytes(), fetched.source.sha256.as_ref()];
    parts.extend(PATCHES.iter().map(|(_, text)| text.as_bytes()));
    parts.extend(flags.iter().map(|flag| flag.as_bytes()));
    parts.extend([compiler.as_bytes(), mbedtls.as_bytes()]);
    Ok(format!("{}-{}", variant.name(), cache::key("tss", &parts)))
}

/// The prefix of a variant; built when the cache does not have it. Its path contains the hash of
/// source, patches and flags: cargo notices another one.
///
/// # Errors
/// A patch does not apply, or the build fails: the end of its log.
pub fn prefix(fetched: &Fetched, variant: Variant) -> Result<PathBuf> {
    let flags = variant.all_flags();
    let key = key(fetched, variant)?;
    let version = upstream(&fetched.source.version);
    cache::product("tss", &key, |folder, log| {
        say(
            "tss",
            &format!(
                "building tpm2-tss {version} for {} (about 45 s on 2 idle cores; log: {})",
                variant.name(),
                log.display()
            ),
        );
        let work = folder.join("work");
        fs::create_dir(&work)?;
        sources::unpack(&fetched.path, &work, log)?;
        let tree = sources::only_file(&work)?;
        patch(&tree, log)?;
        build(&tree, version, &flags, folder, log)?;
        if variant == Variant::Tests {
            // Both TCTIs' archives define it; the linker shall take the device's.
            let archive = folder.join("lib/libtss2-tcti-swtpm.a");
            let mut weaken = command("objcopy");
            logged(weaken.arg("--weaken-symbol=Tss2_Tcti_Info").arg(archive), log)?;
        }
        fs::remove_dir_all(&work)?;
        Ok(())
    })
}

/// Lays the link `target/tss` that `.cargo/config.toml` finds the tests' prefix by.
///
/// # Errors
/// Something that is not a link stands there.
pub fn link(prefix: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    let (link, fresh) = (target.join("tss"), target.join(format!(".tss.{}", std::process::id())));
    if link.exists() && !link.is_symlink() {
        bail!("expected a link at {}, found something else: remove it", link.display());
    }
    if fs::read_link(&link).is_ok_and(|now| now == prefix) {
        return Ok(());
    }
    std::os::unix::fs::symlink(prefix, &fresh)?;
    fs::rename(&fresh, &link)?;
    Ok(())
}

fn patch(tree: &Path, log: &Path) -> Result<()> {
    for (name, text) in PATCHES {
        let file = tree.join(name);
        fs::write(&file, text)?;
        let mut patch = command("patch");
        patch.args(["-p1", "--fuzz=0", "--batch", "--forward", "-i"]).arg(&file).current_dir(tree);
        logged(&mut patch, log).with_context(|| {
            format!(
                "image/patches/{name} does not apply to this tpm2-tss: look whether upstream has \
                 closed the fault, then drop or renew the patch"
            )
        })?;
    }
    Ok(())
}

fn build(tree: &Path, version: &str, flags: &[&str], folder: &Path, log: &Path) -> Result<()> {
    // `bootstrap` asks git for the version, and the archive is not a repository.
    let git = |arguments: &[&str]| {
        let mut git = command("git");
        git.args(["-c", "user.name=casemate", "-c", "user.email=casemate@invalid"]);
        logged(git.args(arguments).current_dir(tree), log)
    };
    git(&["init", "--quiet", "."])?;
    git(&["commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", "version"])?;
    git(&["tag", version])?;
    logged(command("./bootstrap").current_dir(tree), log)?;
    let last = final_place(folder);
    let mut configure = command("./configure");
    configure.arg(format!("--prefix={}", last.display())).args(flags).current_dir(tree);
    logged(&mut configure, log)?;
    logged(command("make").arg(jobs()).current_dir(tree), log)?;
    // The prefix stands in the .pc files: install for the last place, into the folder being filled.
    let stage = folder.join("stage");
    let destination = format!("DESTDIR={}", stage.display());
    logged(command("make").args(["install", &destination]).current_dir(tree), log)?;
    let installed = stage.join(last.strip_prefix("/").context("the cache's path is absolute")?);
    for part in ["include", "lib"] {
        fs::rename(installed.join(part), folder.join(part))?;
    }
    fs::remove_dir_all(&stage)?;
    Ok(())
}

/// The folder without the suffix that marks it as being filled.
fn final_place(folder: &Path) -> PathBuf {
    folder.with_extension("")
}

/// 4.1.3 of 4.1.3-1.2.
fn upstream(version: &str) -> &str {
    version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
}
