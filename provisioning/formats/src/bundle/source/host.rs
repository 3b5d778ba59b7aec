//! `hosts/NAME.toml`: a box as `casemate host add` verified it, and what ops add to it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Finding, compile::table};
use crate::{
    bundle::{
        body::{EkTemplate, Host, Label, Network, Prefix},
        check,
        error::expected_and_found,
    },
    code::Code,
    digest::{Digest, Name},
};

/// A host record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRecord {
    /// Name of its endorsement key.
    pub ek: Name,
    /// How that key is made.
    pub ek_template: EkTemplate,
    /// Name of its attestation key.
    pub ak: Name,
    /// PCR 7 values it may boot with.
    pub pcr7: Vec<Digest>,
    /// Other applications that its firmware measures.
    #[serde(default)]
    pub boot_applications: Vec<Digest>,
    /// Its share of each budget, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_share: Option<u16>,
    /// Whether the root is sealed here.
    #[serde(default = "yes")]
    pub sealed: bool,
    /// Whether it is to destroy what it holds.
    #[serde(default)]
    pub retired: bool,
    /// How this workstation reaches it, `host:port`; not part of the bundle. Its first address and the
    /// service's port otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<String>,
    /// Its addresses; none: DHCP.
    #[serde(default)]
    pub network: NetworkRecord,
}

const fn yes() -> bool {
    true
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecord {
    /// MAC address of the interface, `52:54:00:12:34:56`; the first with a carrier otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// VLAN on that interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// `10.0.0.7/24`; none: DHCP.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Default routes.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
}

impl HostRecord {
    /// Reads a host record.
    ///
    /// # Errors
    /// Line, column and what was expected.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Its text, with comments that teach.
    ///
    /// # Errors
    /// TOML's own; none is known.
    pub fn format(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    pub(super) fn compile(&self, name: &Label, findings: &mut Vec<Finding>) -> Option<Host> {
        let place = format!("hosts/{name}.toml");
        let pcr7 = table(&format!("{place}: pcr7"), self.pcr7.iter().copied(), findings);
        let mut applications = self.boot_applications.clone();
        applications.sort_unstable();
        let place_of = format!("{place}: boot_applications");
        let boot_applications = table(&place_of, applications.into_iter(), findings);
        let network = self.network.compile(&format!("{place}: network"), findings);
        Some(Host {
            name: name.clone(),
            ek: self.ek.clone(),
            ek_template: self.ek_template,
            ak: self.ak.clone(),
            pcr7: pcr7?,
            boot_applications: boot_applications?,
            network: network?,
            budget_share: self.budget_share,
            sealed: self.sealed,
            retired: self.retired,
        })
    }
}

impl NetworkRecord {
    pub(super) fn compile(&self, place: &str, findings: &mut Vec<Finding>) -> Option<Network> {
        let mac = match self.mac.as_deref().map(|text| (text, parse_mac(text))) {
            None => Some(None),
            Some((_, Some(mac))) => Some(Some(mac)),
            Some((text, None)) => {
                findings.push(Finding::new(
                    Code::OutOfRange,
                    format!("{place}.mac"),
                    "six bytes in hex, 52:54:00:12:34:56",
                    format!("{text:?}"),
                    "leave it out to take the first interface with a carrier",
                ));
                None
            }
        };
        let addresses: Vec<Prefix> = self
            .addresses
            .iter()
            .filter_map(|text| prefix(&format!("{place}.addresses"), text, findings))
            .collect();
        let addresses = table(&format!("{place}.addresses"), addresses.into_iter(), findings);
        let gateways = table(&format!("{place}.gateways"), self.gateways.iter().copied(), findings);
        let network =
            Network { mac: mac?, vlan: self.vlan, addresses: addresses?, gateways: gateways? };
        if let Err(error) = check::network(&network) {
            let text = error.to_string();
            let (expected, _) = expected_and_found(&text);
            let next = "correct it there: no box takes a bundle with it";
            findings.push(Finding::new(error.code(), place, expected, self.shown(), next));
        }
        Some(network)
    }

    /// On one line.
    fn shown(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.mac.iter().map(|mac| format!("mac {mac}")));
        parts.extend(self.vlan.iter().map(|id| format!("vlan {id}")));
        parts.push(format!("addresses [{}]", self.addresses.join(", ")));
        let gateways: Vec<String> = self.gateways.iter().map(IpAddr::to_string).collect();
        parts.push(format!("gateways [{}]", gateways.join(", ")));
        parts.join(", ")
    }
}

/// `10.0.0.7/24`.
pub(super) fn prefix(place: &str, text: &str, findings: &mut Vec<Finding>) -> Option<Prefix> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        Some(Prefix { address: address.parse().ok()?, length: length.parse().ok()? })
    });
    if parsed.is_none() {
        findings.push(Finding::new(
            Code::OutOfRange,
            place,
            "an address with a prefix length, 10.0.0.7/24",
            format!("{text:?}"),
            "write it like that",
        ));
    }
    parsed
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

const HEAD: &str = "\
# A box of this site. `casemate host add` wrote it after it had checked the box's TPM, firmware and
# image; the file's name is the host's name.
#
#   ek, ak             names of its endorsement and attestation key: which TPM this is. They never change.
#   pcr7               its Secure Boot state; up to two values, so that a firmware update can be listed
#                      before it is made
#   boot_applications  hashes of what its firmware also measures (a shell that it then refuses)
#   sealed             false: nothing is kept on it; every boot needs another box, or k shares
#   retired            true: it destroys what it holds as soon as it hears of this bundle. Nothing undoes it.
#   budget_share       thousandths of every budget; left out: an equal part
#   reach              how this workstation reaches it, host:port; not part of the bundle
#   [network]          mac, vlan, addresses (\"10.0.0.7/24\"; none: DHCP), gateways

";
