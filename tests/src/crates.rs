//! The crates that something is built from, counted: build scripts' and macros' own are left out.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Result, ensure};

/// Names and versions of the crates in `package`, its own included.
///
/// # Errors
/// cargo's.
pub fn tree(package: &str) -> Result<BTreeSet<String>> {
    let out = Command::new("cargo")
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--package", package])
        .args(["--format", "{p}"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?
        .lines()
        .filter_map(|line| line.split(" (").next())
        .filter(|line| !line.is_empty())
        .map(ToOwned::to_owned)
        .collect())
}
