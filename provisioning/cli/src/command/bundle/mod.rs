//! `casemate bundle …`: one file a step.

mod add_image;
pub mod build;
mod check;
mod diff;
mod fetch;
mod new;
mod pending;
pub mod push;
mod rotate;
mod show;
mod sign;

use std::path::PathBuf;

use clap::Subcommand;

use crate::{
    output::{Failure, Output},
    site::Site,
};

/// Steps of a bundle's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes the next number in bundle.toml.
    ///
    /// Raises `seq` above the newest signed bundle and sets `issued`, both in bundle.toml; nothing else in
    /// the file changes. While the present seq is not signed there is nothing to do.
    New(new::Command),
    /// Gives keyrings a new version, under the newest root.
    Rotate(rotate::Command),
    /// Lists an image from its manifest.
    ///
    /// Adds an image to images.toml, from the manifest.json that its build wrote: the next bundle lists it,
    /// and boxes that run it may unseal. Builds that bundle. Adding it again changes nothing.
    AddImage(add_image::Command),
    /// Says what is wrong with a site's files, and what to know.
    ///
    /// Compiles the bundle without writing it: every mistake with place, expected, found and next; then how
    /// full the tables of the firmware are, and hints.
    Check(check::Command),
    /// Writes the bundle that the site's files describe.
    ///
    /// Compiles the directory to bundles/SEQ.bundle, without signatures. The same directory gives the same
    /// bytes. Signatures on the same body stay; a signed body of this seq is never replaced.
    Build(build::Command),
    /// Signs a built bundle, after showing what changes.
    ///
    /// Adds your signature to the newest built bundle. Shows the difference from the last signed one (or the
    /// whole bundle if it is the first) and asks, then runs `ssh-keygen -Y sign`, which takes keys from files,
    /// the SSH agent and FIDO tokens. Signing twice with one key changes nothing.
    Sign(sign::Command),
    /// Brings back the bundle in force; from nothing, the whole site's directory.
    ///
    /// From a box (`--address`) or a file (`--file`, which `casemate share bundle` wrote), with the site's
    /// anchors: makes the directory again, as sources that build to the same body. In a directory that is
    /// there (`--host`): keeps the bundle that is in force on that box in bundles/.
    Fetch(fetch::Command),
    /// Prints a bundle and its signers.
    Show(show::Command),
    /// Prints what changes from one bundle to another.
    ///
    /// Prints what differs between two bundles, one line for each value. Without arguments: from the newest
    /// signed bundle to what the directory describes now.
    Diff(diff::Command),
    /// Sends a signed bundle to every box of the site, or to one.
    Push(push::Command),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The step's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::New(command) => command.run(output),
            Self::Rotate(command) => command.run(output),
            Self::AddImage(command) => command.run(output),
            Self::Check(command) => command.run(output),
            Self::Build(command) => command.run(output),
            Self::Sign(command) => command.run(output),
            Self::Fetch(command) => command.run(output),
            Self::Show(command) => command.run(output),
            Self::Diff(command) => command.run(output),
            Self::Push(command) => command.run(output),
        }
    }
}

/// The built bundle with this number, or the newest one.
fn pick(site: &Site, seq: Option<u64>) -> Result<PathBuf, Failure> {
    let mut bundles = site.bundles()?;
    let found = match seq {
        Some(seq) => bundles.remove(&seq),
        None => bundles.pop_last().map(|(_, path)| path),
    };
    found.ok_or_else(|| {
        let known: Vec<String> = bundles.keys().map(ToString::to_string).collect();
        Failure::environment("no-bundle", "there is no such bundle in this site")
            .expected(match seq {
                Some(seq) => site.bundle_path(seq).display().to_string(),
                None => "a file in bundles/".to_owned(),
            })
            .found(if known.is_empty() { "none".to_owned() } else { known.join(", ") })
            .next("`casemate bundle build` writes one")
    })
}
