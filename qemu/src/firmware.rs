//! The firmware of a machine: Debian's OVMF with SMM and Secure Boot, and its variable store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Where Debian's package `ovmf` puts its files.
const OVMF: &str = "/usr/share/OVMF";
/// Code with SMM: variables can be changed by the firmware alone.
const CODE: &str = "OVMF_CODE_4M.secboot.fd";

/// Which variables a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variables {
    /// No keys: set-up mode, as a new machine.
    Empty,
    /// Somebody else's keys (Debian's test keys), enrolled.
    Foreign,
}

impl Variables {
    const fn file(self) -> &'static str {
        match self {
            Self::Empty => "OVMF_VARS_4M.fd",
            Self::Foreign => "OVMF_VARS_4M.snakeoil.fd",
        }
    }
}

/// Path of the firmware's code.
///
/// # Errors
/// The package `ovmf` is not installed.
pub fn code() -> Result<PathBuf> {
    installed(CODE)
}

/// Copies a fresh variable store to `to`.
///
/// # Errors
/// The package `ovmf` is not installed, or `to` cannot be written.
pub fn create_variables(variables: Variables, to: &Path) -> Result<()> {
    let from = installed(variables.file())?;
    fs::copy(&from, to).with_context(|| format!("{}: cannot write", to.display()))?;
    Ok(())
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = Path::new(OVMF).join(name);
    if !path.exists() {
        bail!(
            "expected {}; found nothing there; next: ./image/prepare (installs ovmf)",
            path.display()
        );
    }
    Ok(path)
}
