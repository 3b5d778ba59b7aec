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

/// Who comes when somebody leaves.
pub const NEWCOMER: &str = "gus";

impl People {
    /// The people whose keys are in `folder` already.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes their keys in `folder`; those that are there stay.
    ///
    /// # Errors
    /// ssh-keygen or age-keygen fails.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let people = Self { folder: folder.to_owned() };
        for name in OPERATORS {
            people.add_operator(name)?;
        }
        for name in CUSTODIANS {
            people.add_custodian(name)?;
        }
        Ok(people)
    }

    /// Makes an operator's key, unless it is there.
    ///
    /// # Errors
    /// ssh-keygen fails.
    pub fn add_operator(&self, name: &str) -> Result<()> {
        if !self.signing_key(name).exists() {
            output(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                    .arg(self.signing_key(name)),
            )?;
        }
        Ok(())
    }

    /// Makes a custodian's identity, unless it is there.
    ///
    /// # Errors
    /// age-keygen fails.
    pub fn add_custodian(&self, name: &str) -> Result<()> {
        if !self.identity(name).exists() {
            output(Command::new("age-keygen").arg("-o").arg(self.identity(name)))
                .context("next: ./image/prepare (installs age)")?;
        }
        Ok(())
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
