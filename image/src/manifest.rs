//! Writes `manifest.json` for a built image, and says which tools and packages of this host built it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use casemate_formats::{
    anchors::Anchors,
    digest::Digest,
    efi::authenticode,
    manifest::{FORMAT, File, Manifest, Package, Product, ProductFile, Section, Source},
};

use crate::{
    run::{command, output},
    uki::Parts,
};

/// Host packages whose content ends up in the image or shapes it.
const PACKAGES: [&str; 4] = ["binutils", "gcc", "libc6-dev", "libmbedtls-dev"];

/// The manifest of an unsigned UKI.
///
/// # Errors
/// The UKI or the anchors are not ones, or the host's packages cannot be asked for.
pub fn of(
    version: &str,
    anchors: &[u8],
    parts: &Parts,
    uki: &[u8],
    mut sources: Vec<Source>,
    mut products: Vec<Product>,
) -> Result<Manifest> {
    let namespace = Anchors::decode(anchors)?.namespace.to_string();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    products.sort_by(|a, b| a.name.cmp(&b.name));
    let sections = parts
        .sections()
        .iter()
        .map(|(name, data)| Section {
            name: (*name).to_owned(),
            bytes: data.len() as u64,
            sha256: Digest::sha256(data),
        })
        .collect();
    Ok(Manifest {
        format: FORMAT,
        version: version.to_owned(),
        namespace,
        anchors: Digest::sha256(anchors),
        pcr11: parts.pcr11(),
        authenticode: authenticode::hash(uki)?,
        unsigned: file(uki),
        signed: None,
        sections,
        sources,
        packages: packages()?,
        products,
    })
}

/// Reads a manifest.
///
/// # Errors
/// It is missing or not one.
pub fn read(path: &Path) -> Result<Manifest> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("expected the manifest {}: `cargo image build` writes it", path.display())
    })?;
    Ok(Manifest::parse(&text)?)
}

/// Size and hash.
#[must_use]
pub fn file(bytes: &[u8]) -> File {
    File { bytes: bytes.len() as u64, sha256: Digest::sha256(bytes) }
}

/// A product with its files, as they lie in the cache or in cargo's folder.
///
/// # Errors
/// One of them cannot be read.
pub fn product(name: &str, recipe: String, mut files: Vec<PathBuf>) -> Result<Product> {
    files.sort();
    let files = files
        .iter()
        .map(|path| {
            let bytes = std::fs::read(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(ProductFile { name, bytes: bytes.len() as u64, sha256: Digest::sha256(&bytes) })
        })
        .collect::<Result<_>>()?;
    Ok(Product { name: name.to_owned(), recipe, files })
}

/// The first line of `TOOL --version`.
///
/// # Errors
/// There is no such tool.
pub fn tool_version(tool: &str) -> Result<String> {
    let text = output(command(tool).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The version of an installed package of the host.
///
/// # Errors
/// It is not installed.
pub fn package_version(package: &str) -> Result<String> {
    let version = output(command("dpkg-query").args(["-W", "-f", "${Version}", package]))
        .with_context(|| format!("expected the package {package}: `image/prepare` installs it"))?;
    Ok(version)
}

fn packages() -> Result<Vec<Package>> {
    let mut packages = PACKAGES
        .iter()
        .map(|name| Ok(Package { name: (*name).to_owned(), version: package_version(name)? }))
        .collect::<Result<Vec<_>>>()?;
    let rustc = output(std::process::Command::new("rustc").arg("--version"))?;
    packages.push(Package { name: "rustc".to_owned(), version: rustc.trim().to_owned() });
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}
