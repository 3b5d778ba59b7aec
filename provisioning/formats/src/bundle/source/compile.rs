//! From texts to a bundle: every value parsed, every table sorted, then the bundle's own check.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    BundleSource, ClientSource, ExpectedSource, Finding, HostRecord, ImagesSource, KeyringSource,
    host::prefix,
    parse_time,
    root::{self, Genesis},
};
use crate::{
    bundle::{
        Bundle,
        body::{
            Audit, Client, Expected, Grant, Host, Image, Keyring, Label, Prefix, Roles, Service,
            Site,
        },
        error::expected_and_found,
    },
    code::Code,
    digest::Digest,
    limits,
};

/// All that a bundle is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// From `site.toml`.
    pub namespace: &'a Label,
    /// `bundle.toml`.
    pub bundle: &'a BundleSource,
    /// `hosts/`.
    pub hosts: &'a BTreeMap<Label, HostRecord>,
    /// `images.toml`.
    pub images: &'a ImagesSource,
    /// Roots so far.
    pub genesis: &'a Genesis,
}

/// A bundle and what people should know about it.
#[derive(Debug)]
pub struct Compiled {
    /// The same input always gives the same bytes.
    pub bundle: Bundle,
    /// Hints; nothing that keeps it from being signed.
    pub notes: Vec<String>,
}

/// Compiles.
///
/// # Errors
/// Everything that is wrong and can be seen at once.
pub fn compile(input: &Input<'_>) -> Result<Compiled, Vec<Finding>> {
    let mut findings = Vec::new();
    let found = &mut findings;
    let source = input.bundle;
    let site = site(input, found);
    let images = table(
        "images.toml",
        input.images.image.iter().map(|record| {
            let super::ImageRecord { pcr11, esp, authenticode, .. } = record.clone();
            Image { pcr11, esp, authenticode }
        }),
        found,
    );
    if input.images.image.is_empty() {
        found.push(Finding::new(
            Code::Inconsistent,
            "images.toml",
            "at least one image that boxes may run",
            "none",
            "`casemate bundle add-image MANIFEST` lists one",
        ));
    }
    let hosts: Vec<_> =
        input.hosts.iter().filter_map(|(name, record)| record.compile(name, found)).collect();
    let expected =
        sorted(source.expected.iter().filter_map(|e| expected(e, input.hosts, found)), |e| &e.name);
    shared_addresses(&hosts, &expected, found);
    let keyrings = sorted(source.keyring.iter().filter_map(|k| keyring(k, found)), |k| &k.name);
    let clients = sorted(source.client.iter().filter_map(|c| client(c, found)), |c| &c.name);
    let roots = root::compile(&source.root, input.genesis, found);
    let audit = Audit {
        collectors_required: source.audit.collectors_required,
        overwrite: source.audit.overwrite,
    };
    if audit.collectors_required == 0 && !audit.overwrite {
        found.push(Finding::new(
            Code::Inconsistent,
            "bundle.toml: audit",
            "a collector, or `overwrite = true`",
            "neither: the log would fill up and the boxes would stop answering",
            "set collectors_required, or say that the oldest blocks may be overwritten",
        ));
    }
    let (Some(site), Some(images), Some(roots), true) = (site, images, roots, findings.is_empty())
    else {
        return Err(findings);
    };
    let service = Service { port: source.service.port, keyrings, clients };
    let bundle = Bundle { site, images, hosts, service, root: roots.section, audit, expected };
    bundle.check().map_err(|error| {
        let text = error.to_string();
        let (expected, found) = expected_and_found(&text);
        let (found, next) = (found.unwrap_or("something else"), error.code().what_to_do());
        vec![Finding::new(error.code(), "the bundle as a whole", expected, found, next)]
    })?;
    let size = bundle.encode().len() + limits::SIGNERS * limits::SIGNATURE_BYTES;
    if size > limits::BUNDLE_BYTES {
        let most = format!("at most {} bytes with all signatures", limits::BUNDLE_BYTES);
        let next = Code::TooLarge.what_to_do();
        return Err(vec![Finding::new(Code::TooLarge, "bundle", most, size, next)]);
    }
    let mut notes = roots.notes;
    notes.extend(hints(&bundle));
    Ok(Compiled { bundle, notes })
}

fn site(input: &Input<'_>, findings: &mut Vec<Finding>) -> Option<Site> {
    let source = input.bundle;
    let issued = parse_time(&source.issued);
    if issued.is_none() {
        findings.push(Finding::new(
            Code::OutOfRange,
            "bundle.toml: issued",
            "a time in UTC, \"2026-11-24T11:00:00Z\"",
            format!("{:?}", source.issued),
            "`casemate bundle new` writes the present one",
        ));
    }
    let mut logs: Vec<(Label, Digest)> = source
        .acknowledged_log
        .iter()
        .filter_map(|log| Some((label("acknowledged_log.host", &log.host, findings)?, log.id)))
        .collect();
    logs.sort_unstable();
    Some(Site {
        namespace: input.namespace.clone(),
        seq: source.seq,
        issued: issued?,
        acknowledged_logs: logs,
    })
}

/// A box on its way; `None`: it has arrived, its host record has its network.
fn expected(
    source: &ExpectedSource,
    hosts: &BTreeMap<Label, HostRecord>,
    findings: &mut Vec<Finding>,
) -> Option<Expected> {
    let name = label("expected.name", &source.name, findings)?;
    if hosts.contains_key(&name) {
        return None;
    }
    let place = format!("bundle.toml: expected {name}: network");
    if source.network.mac.is_none() || source.network.addresses.is_empty() {
        findings.push(Finding::new(
            Code::OutOfRange,
            &place,
            "mac and addresses: the box is known by its hardware address alone",
            "one of them is missing",
            "its console and its label show the hardware address",
        ));
    }
    Some(Expected { network: source.network.compile(&place, findings)?, name })
}

/// Two machines with one address. A retired host may have given its own to another.
fn shared_addresses(hosts: &[Host], expected: &[Expected], findings: &mut Vec<Finding>) {
    let hosts = hosts.iter().filter(|host| !host.retired).map(|host| (&host.name, &host.network));
    let all = hosts.chain(expected.iter().map(|expected| (&expected.name, &expected.network)));
    let mut seen: BTreeMap<IpAddr, &Label> = BTreeMap::new();
    for (name, network) in all {
        for Prefix { address, .. } in &network.addresses {
            match seen.insert(*address, name) {
                Some(other) if other != name => findings.push(Finding::new(
                    Code::Duplicate,
                    format!("{name}: network.addresses"),
                    "an address that no other box has",
                    format!("{address}, which is {other}'s as well"),
                    "give one of them another address",
                )),
                _ => {}
            }
        }
    }
}

fn keyring(source: &KeyringSource, findings: &mut Vec<Finding>) -> Option<Keyring> {
    let name = label("keyring.name", &source.name, findings)?;
    let place = format!("bundle.toml: keyring {name}");
    let mut context: Vec<Label> = source
        .context
        .iter()
        .filter_map(|text| label(&format!("keyring {name}: context"), text, findings))
        .collect();
    context.sort_unstable();
    let subject = match &source.subject {
        None => None,
        Some(text) => Some(label(&format!("keyring {name}: subject"), text, findings)?),
    };
    Some(Keyring {
        context: table(&format!("{place}: context"), context.into_iter(), findings)?,
        subject,
        versions: source.versions.clone(),
        first_version: source.first_version,
        name,
    })
}

fn client(source: &ClientSource, findings: &mut Vec<Finding>) -> Option<Client> {
    let name = label("client.name", &source.name, findings)?;
    let place = format!("bundle.toml: client {name}");
    let mut keys = Vec::new();
    for text in &source.keys {
        match Digest::parse(text) {
            Some(key) => keys.push(key),
            None => findings.push(Finding::new(
                Code::OutOfRange,
                format!("{place}: keys"),
                "the SHA-256 of a public key (64 hex digits)",
                format!("{text:?}"),
                "`casemate client new` makes a key and prints it",
            )),
        }
    }
    let mut from: Vec<Prefix> = source
        .from
        .iter()
        .filter_map(|text| prefix(&format!("{place}: from"), text, findings))
        .collect();
    from.sort_unstable();
    let site = roles(&format!("{place}: roles"), &source.roles, Roles::ON_SITE, findings);
    let mut grants: Vec<Grant> = source
        .keyrings
        .iter()
        .filter_map(|(keyring, names)| {
            let place = format!("{place}: keyrings.{keyring}");
            let keyring = label(&format!("client {name}: keyrings"), keyring, findings)?;
            let roles = roles(&place, names, Roles::ON_KEYRINGS, findings);
            Some(Grant { keyring, roles })
        })
        .collect();
    grants.sort_by(|one, other| one.keyring.cmp(&other.keyring));
    Some(Client {
        keys: table(&format!("{place}: keys"), keys.into_iter(), findings)?,
        from: table(&format!("{place}: from"), from.into_iter(), findings)?,
        roles: site,
        grants,
        name,
    })
}

fn roles(place: &str, names: &[String], here: Roles, findings: &mut Vec<Finding>) -> Roles {
    let mut all = Roles::default();
    let known: Vec<_> = Roles::NAMED.into_iter().filter(|(_, role)| here.contains(*role)).collect();
    for name in names {
        if let Some((_, role)) = known.iter().find(|(known, _)| known == name) {
            all = all.union(*role);
        } else {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            findings.push(Finding::new(
                Code::ReservedRole,
                place,
                words.join(", "),
                format!("{name:?}"),
                "encrypt, decrypt, rewrap, index stand on keyrings; monitor, audit, operate in roles",
            ));
        }
    }
    all
}

fn label(place: &str, text: &str, findings: &mut Vec<Finding>) -> Option<Label> {
    let parsed = Label::parse(text);
    if parsed.is_none() {
        findings.push(Finding::new(
            Code::OutOfRange,
            format!("bundle.toml: {place}"),
            "a name of a-z, 0-9 and -, starting with a letter, at most 32 characters",
            format!("{text:?}"),
            "choose another name",
        ));
    }
    parsed
}

/// A table within its capacity, or a finding.
pub(super) fn table<T, const N: usize>(
    place: &str,
    entries: impl Iterator<Item = T>,
    findings: &mut Vec<Finding>,
) -> Option<heapless::Vec<T, N>> {
    let entries: Vec<T> = entries.collect();
    let found = entries.len();
    let table = (found <= N).then(|| entries.into_iter().collect());
    if table.is_none() {
        let next = "drop what is no longer needed";
        findings.push(Finding::new(
            Code::TableTooLarge,
            place,
            format!("at most {N}"),
            found,
            next,
        ));
    }
    table
}

fn sorted<T>(entries: impl Iterator<Item = T>, name: impl Fn(&T) -> &Label) -> Vec<T> {
    let mut entries: Vec<T> = entries.collect();
    entries.sort_by(|one, other| name(one).cmp(name(other)));
    entries
}

/// What is allowed and yet should be seen before anybody signs.
fn hints(bundle: &Bundle) -> Vec<String> {
    let mut hints = Vec::new();
    if bundle.hosts.is_empty() {
        hints.push("no host is listed yet: `casemate host add` lists one".to_owned());
    }
    if bundle.root.threshold == 1 {
        hints.push("one custodian alone opens the root (root.threshold = 1)".to_owned());
    }
    if bundle.audit.collectors_required == 0 {
        hints.push("no audit collector: the oldest blocks are overwritten".to_owned());
    }
    for expected in &bundle.expected {
        let name = &expected.name;
        hints.push(format!("{name} is expected: `casemate host add {name}` once it is there"));
    }
    for host in bundle.hosts.iter().filter(|host| host.retired) {
        hints.push(format!("host {} is retired: it destroys what it holds", host.name));
    }
    for client in &bundle.service.clients {
        let anywhere = client.from.is_empty() && client.roles.contains(Roles::OPERATE);
        if anywhere {
            hints.push(format!("client {} may operate from any address", client.name));
        }
    }
    hints
}
