//! `casemate bundle rotate`: a new version of keyrings, under the root that is in force.

use std::path::PathBuf;

use casemate_formats::{bundle::source::KeyringSource, code::Code};
use toml_edit::{Item, Value};

use super::build;
use crate::{
    output::{Failure, Output},
    reach,
    site::{Site, edit},
};

/// Gives keyrings a new version, under the newest root in force: it encrypts from then on, older tokens
/// still decrypt until they are rewrapped. Without names: every keyring whose newest version is of an
/// older root. With --serve the boxes also serve under the newest root's authority; every client must
/// trust it before (authorities.pem has both).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle rotate --site site pii\n  \
    casemate bundle rotate --site site --serve      (after a new root)\n\n\
    Then sign the bundle and push it.")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Which keyrings.
    keyrings: Vec<String>,
    /// Also serve under the newest root's authority.
    #[arg(long)]
    serve: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// There is no root yet, or no such keyring.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let signed = reach::signed(&site)?;
        let Some(known) = &signed.bundle().root.established else {
            return Err(Code::NoRoot.into());
        };
        let generation = known.generation;
        let sources = site.bundle_source()?.keyring;
        for name in &self.keyrings {
            if !sources.iter().any(|keyring| keyring.name == *name) {
                let all: Vec<&str> = sources.iter().map(|keyring| keyring.name.as_str()).collect();
                return Err(Failure::refused("no-such-keyring", format!("no keyring {name:?}"))
                    .expected(all.join(", "))
                    .next("name one of those"));
            }
        }
        // A number that no signed bundle has yet was raised already: repeating changes nothing.
        let in_force = |keyring: &KeyringSource| {
            let listed = signed.bundle().service.keyrings.iter();
            listed
                .into_iter()
                .find(|k| k.name.as_str() == keyring.name)
                .map(|k| k.first_version as usize + k.versions.len())
        };
        let rotated: Vec<String> = sources
            .iter()
            .filter(|keyring| {
                let last = keyring.first_version as usize + keyring.versions.len();
                let raised = in_force(keyring).is_some_and(|signed| last > signed);
                let named = self.keyrings.contains(&keyring.name) && !raised;
                let behind = keyring.versions.last().is_some_and(|of| *of < generation);
                named || self.keyrings.is_empty() && behind
            })
            .map(|keyring| keyring.name.clone())
            .collect();
        site.edit_bundle(|document| {
            if self.serve {
                edit::set(edit::table(document, "root")?, "serving", i64::from(generation));
            }
            let list = edit::tables(document.as_table_mut(), "keyring")?;
            for table in list.iter_mut() {
                let name = table.get("name").and_then(Item::as_str).unwrap_or_default();
                if !rotated.iter().any(|rotated| rotated == name) {
                    continue;
                }
                if let Some(versions) = table.get_mut("versions").and_then(Item::as_array_mut) {
                    versions.push(Value::from(i64::from(generation)));
                }
            }
            Ok(())
        })?;
        let serving = site.bundle_source()?.root.serving;
        let (next, bundle) = build::after_change(&site, output);
        let what = if rotated.is_empty() { "none".to_owned() } else { rotated.join(", ") };
        output.result(
            format_args!("new version under root {generation}: {what}; serving {serving}\n{next}"),
            &serde_json::json!({
                "generation": generation, "rotated": rotated, "serving": serving, "bundle": bundle,
            }),
        );
        Ok(())
    }
}
