//! The bundle as ops write it: TOML in their own git, compiled to a [`Bundle`] (workstation only).
//! Pure: texts come in, a bundle or everything that is wrong with them goes out.
//!
//! `site.toml` is what an image is built from and rarely changes; `bundle.toml` is what changes;
//! `hosts/NAME.toml` and `images.toml` are written by the tool and read by people.

mod compile;
mod finding;
mod host;
mod root;
mod site;
mod time;

pub use compile::{Compiled, Input, compile};
pub use finding::Finding;
pub use host::{HostRecord, NetworkRecord};
pub use root::Genesis;
pub use site::{Signers, SiteSource};
pub use time::{format_time, parse_time};

use std::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    bundle::Bundle,
    digest::{Digest, hex},
};

/// `bundle.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleSource {
    /// Number of this bundle.
    pub seq: u64,
    /// When it was written, `2026-11-24T11:00:00Z`.
    pub issued: String,
    /// Logs whose loss or rollback the signers acknowledge.
    #[serde(default)]
    pub acknowledged_log: Vec<LogSource>,
    /// Port.
    pub service: ServiceSource,
    /// Keyrings.
    #[serde(default)]
    pub keyring: Vec<KeyringSource>,
    /// Clients.
    #[serde(default)]
    pub client: Vec<ClientSource>,
    /// Custodians.
    pub root: RootSource,
    /// Audit collectors.
    pub audit: AuditSource,
    /// Boxes on their way.
    #[serde(default)]
    pub expected: Vec<ExpectedSource>,
}

/// `[[expected]]`: dropped from the bundle once `hosts/NAME.toml` is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedSource {
    /// The name that the box shall have.
    pub name: String,
    /// Its network, as under `[network]` of a host record.
    pub network: NetworkRecord,
}

/// `[[acknowledged_log]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSource {
    /// Host that wrote it.
    pub host: String,
    /// Its id.
    pub id: Digest,
}

/// `[service]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSource {
    /// TCP port.
    pub port: u16,
}

/// `[[keyring]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringSource {
    /// Its name.
    pub name: String,
    /// Context names, in any order.
    #[serde(default)]
    pub context: Vec<String>,
    /// Which of them is the subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// Root generation of each version.
    pub versions: Vec<u32>,
    /// Number of the first one.
    #[serde(default = "one")]
    pub first_version: u32,
}

const fn one() -> u32 {
    1
}

/// `[[client]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSource {
    /// Its name.
    pub name: String,
    /// SHA-256 of its public keys (SubjectPublicKeyInfo), hex.
    pub keys: Vec<String>,
    /// Source prefixes, `10.0.0.0/24`.
    #[serde(default)]
    pub from: Vec<String>,
    /// monitor, audit, operate.
    #[serde(default)]
    pub roles: Vec<String>,
    /// encrypt, decrypt, rewrap, index; by keyring.
    #[serde(default)]
    pub keyrings: BTreeMap<String, Vec<String>>,
}

/// `[root]`: what shall be. What is stands in the genesis answers and acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSource {
    /// How many custodians open the root.
    pub threshold: u8,
    /// Generation of the root that shall be; one more than there is asks for a new root.
    pub generation: u32,
    /// Number of the split that shall be; one more than there is asks for new shares.
    pub split: u32,
    /// Generation whose CA serves.
    pub serving: u32,
    /// Who holds a share, in share order.
    #[serde(default)]
    pub custodian: Vec<CustodianSource>,
}

/// `[[root.custodian]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodianSource {
    /// For people.
    pub name: String,
    /// `age1…`.
    pub recipient: String,
}

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSource {
    /// How many collectors must have a block before its space is free.
    pub collectors_required: u8,
    /// With no collector: overwrite the oldest blocks. Must be said.
    #[serde(default)]
    pub overwrite: bool,
}

/// `images.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesSource {
    /// Oldest first.
    #[serde(default)]
    pub image: Vec<ImageRecord>,
}

/// `[[image]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Version of Casemate, for people.
    pub version: String,
    /// PCR 11 after `enter-casemate`: the image's id.
    pub pcr11: Digest,
    /// SHA-256 of the ESP.
    pub esp: Digest,
    /// Authenticode SHA-256 of the UKI.
    pub authenticode: Digest,
}

impl BundleSource {
    /// Reads `bundle.toml`.
    ///
    /// # Errors
    /// Line, column and what was expected.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

impl ImagesSource {
    /// Reads `images.toml`.
    ///
    /// # Errors
    /// Line, column and what was expected.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

impl Bundle {
    /// What differs from an older bundle, one line for each value, `- path = old` and `+ path = new`.
    #[must_use]
    pub fn difference(&self, older: &Self) -> Vec<String> {
        let (new, old) = (self.lines(), older.lines());
        let removed = old.iter().filter(|(path, value)| new.get(*path) != Some(*value));
        let mut out: Vec<(&String, char, &String)> =
            removed.map(|(path, value)| (path, '-', value)).collect();
        let added = new.iter().filter(|(path, value)| old.get(*path) != Some(*value));
        out.extend(added.map(|(path, value)| (path, '+', value)));
        out.sort_by_key(|(path, sign, _)| (*path, *sign == '+'));
        out.into_iter().map(|(path, sign, value)| format!("{sign} {path} = {value}")).collect()
    }

    /// Every value of the bundle by its path, with names in place of positions.
    #[must_use]
    pub fn lines(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        flatten("", &self.to_json(), &mut out);
        out
    }

    /// The whole bundle for programs; bytes as hex.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut root = serde_json::json!(self.root);
        if let Some(known) = &self.root.established {
            let hex_of = |items: &[Vec<u8>]| items.iter().map(|b| hex(b)).collect::<Vec<_>>();
            root["established"]["authorities"] = hex_of(&known.authorities).into();
            root["established"]["wrapped"] = hex_of(&known.wrapped).into();
        }
        let mut hosts = serde_json::json!(self.hosts);
        for (shown, host) in hosts.as_array_mut().into_iter().flatten().zip(&self.hosts) {
            shown["network"]["mac"] = host.network.mac.map(|mac| hex(&mac)).into();
        }
        let mut expected = serde_json::json!(self.expected);
        for (shown, of) in expected.as_array_mut().into_iter().flatten().zip(&self.expected) {
            shown["network"]["mac"] = of.network.mac.map(|mac| hex(&mac)).into();
        }
        serde_json::json!({
            "site": self.site,
            "images": self.images,
            "hosts": hosts,
            "service": self.service,
            "root": root,
            "audit": self.audit,
            "expected": expected,
        })
    }
}

fn flatten(path: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
    use serde_json::Value;
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), field, out);
            }
        }
        Value::Array(items) if items.iter().any(|item| !item.is_number()) => {
            for (at, item) in items.iter().enumerate() {
                let name = ["name", "keyring"].iter().find_map(|key| item.get(key)?.as_str());
                let key = name.map_or_else(|| at.to_string(), ToOwned::to_owned);
                flatten(&format!("{path}[{key}]"), item, out);
            }
        }
        Value::String(text) => {
            out.insert(path.to_owned(), text.clone());
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
