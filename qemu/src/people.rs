//! The people of a throwaway site: operators with SSH keys, custodians with age identities. Their
//! private halves never leave the folder, as they would never leave the people's own machines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::tools::output;

/// Operators and custodians, by name.
pub struct People {
    folder: PathBuf,
}

/// Who signs bundles; two of them are needed.
pub const OPERATORS: [&str; 3] = ["ann", "ben", "cem"];
/// Who keeps shares; two of them are needed.
pub const CUSTODIANS: [&str; 3] = ["dora", "emil", "fay"];

impl People {
    /// Makes their keys in `folder`; those that are there stay.
    ///
    /// # Errors
    /// ssh-keygen or age-keygen fails.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let people = Self { folder: folder.to_owned() };
        for name in OPERATORS {
            if !people.signing_key(name).exists() {
                output(
                    Command::new("ssh-keygen")
                        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                        .arg(people.signing_key(name)),
                )?;
            }
        }
        for name in CUSTODIANS {
            if !people.identity(name).exists() {
                output(Command::new("age-keygen").arg("-o").arg(people.identity(name)))
                    .context("next: ./image/prepare (installs age)")?;
            }
        }
        Ok(people)
    }

    /// Private SSH key of an operator.
    #[must_use]
    pub fn signing_key(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Public SSH key of an operator.
    #[must_use]
    pub fn public_key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pub"))
    }

    /// age identity of a custodian.
    #[must_use]
    pub fn identity(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.age"))
    }

    /// age recipient of a custodian, `age1…`.
    ///
    /// # Errors
    /// Its identity cannot be read.
    pub fn recipient(&self, name: &str) -> Result<String> {
        Ok(output(Command::new("age-keygen").arg("-y").arg(self.identity(name)))?.trim().to_owned())
    }
}
