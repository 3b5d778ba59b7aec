//! The bill of materials (CycloneDX 1.6, JSON): what is in the image, crate by crate. No time and no
//! random serial number, so that it is the same for the same image.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use casemate_formats::manifest::{Manifest, Package, Source};
use serde_json::{Value, json};

/// A crate of the firmware.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// SPDX expression, as its author states it.
    pub licence: String,
}

/// The firmware's crates, from cargo: exactly what is linked, without build scripts' needs.
///
/// # Errors
/// cargo fails.
pub fn crates(root: &Path) -> Result<Vec<Crate>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["tree", "--locked", "-p", "casemate-appliance", "-e", "normal,no-proc-macro"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}\t{l}"])
        .output()
        .context("could not run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(parse(&String::from_utf8(output.stdout)?))
}

fn parse(tree: &str) -> Vec<Crate> {
    let mut crates: Vec<Crate> = tree
        .lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('\t')?;
            let mut words = package.split_whitespace();
            let name = words.next()?.to_owned();
            let version = words.next()?.strip_prefix('v')?.to_owned();
            Some(Crate { name, version, licence: licence.trim().to_owned() })
        })
        .collect();
    crates.sort();
    crates.dedup();
    crates
}

/// The document.
#[must_use]
pub fn document(manifest: &Manifest, crates: &[Crate]) -> Value {
    let libraries = crates.iter().map(|c| {
        let mut component = json!({
            "type": "library",
            "name": c.name,
            "version": c.version,
            "purl": format!("pkg:cargo/{}@{}", c.name, c.version),
        });
        if !c.licence.is_empty() {
            component["licenses"] = json!([{ "expression": c.licence.replace('/', " OR ") }]);
        }
        component
    });
    let sources = manifest.sources.iter().map(source);
    let packages = manifest.packages.iter().map(package);
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": {
            "type": "firmware",
            "name": "casemate",
            "version": manifest.version,
            "hashes": [{ "alg": "SHA-256", "content": manifest.unsigned.sha256.to_string() }],
        }},
        "components": sources.chain(packages).chain(libraries).collect::<Vec<_>>(),
    })
}

fn source(source: &Source) -> Value {
    json!({
        "type": if source.name == "linux" { "operating-system" } else { "library" },
        "name": source.name,
        "version": source.version,
        "purl": format!("pkg:deb/debian/{}@{}?arch=source", source.name, source.version),
        "hashes": [{ "alg": "SHA-256", "content": source.sha256.to_string() }],
    })
}

fn package(package: &Package) -> Value {
    json!({ "type": "application", "name": package.name, "version": package.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_listed_once_with_their_licence() {
        let tree = "casemate-appliance v0.1.0 (/somewhere/appliance)\tApache-2.0\n\
                    bytes v1.12.2\tMIT\nhyper v1.12.0\tMIT\nbytes v1.12.2\tMIT\n";
        let crates = parse(tree);
        assert_eq!(crates.len(), 3);
        assert_eq!(crates[0].name, "bytes");
        assert_eq!(crates[1].licence, "Apache-2.0");
    }
}
