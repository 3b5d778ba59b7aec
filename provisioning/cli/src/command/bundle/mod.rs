//! `casemate bundle …`: one file a step.

mod add_image;
mod build;
mod check;
mod diff;
mod new;
pub mod push;
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
    New(new::Command),
    /// Lists an image from its manifest.
    AddImage(add_image::Command),
    /// Says what is wrong with a site's files, and what to know.
    Check(check::Command),
    /// Writes the bundle that the site's files describe.
    Build(build::Command),
    /// Signs a built bundle, after showing what changes.
    Sign(sign::Command),
    /// Prints a bundle and its signers.
    Show(show::Command),
    /// Prints what changes from one bundle to another.
    Diff(diff::Command),
    /// Sends a signed bundle to boxes.
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
            Self::AddImage(command) => command.run(output),
            Self::Check(command) => command.run(output),
            Self::Build(command) => command.run(output),
            Self::Sign(command) => command.run(output),
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
