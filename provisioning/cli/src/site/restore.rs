//! A site's directory made again from a bundle and its anchors: what people wrote is lost, what they
//! meant is not. Everything is made in memory first and must build to the same body, byte for byte.

use std::{collections::BTreeMap, path::Path};

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Verified,
        armor::format_public_key,
        body::{Client, Host, Keyring, Label, Network, RootSection},
        source::{
            BundleSource, Genesis, HostRecord, ImagesSource, Input, NetworkRecord, compile,
            format_time,
        },
    },
    efi::variable::Update,
    share::age::format_recipient,
};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::{Problems, Written, authorities::pem, edit, files, template, write};
use crate::output::Failure;

/// What a restored site consists of, in the order in which it is written: what makes it a site last.
type Files = Vec<(String, Vec<u8>)>;

/// Writes the directory. Files that are there and say the same are kept.
///
/// # Errors
/// The bundle cannot be written as sources; a file is there that says something else.
pub fn restore(
    dir: &Path,
    anchors: &Anchors,
    bundle: &Verified,
) -> Result<Vec<(String, Written)>, Failure> {
    let files = files(anchors, bundle)?;
    for (name, bytes) in &files {
        let path = dir.join(name);
        if path.exists() && files::read(&path)? != *bytes {
            return Err(Failure::refused("site-exists", format!("{} is there", path.display()))
                .expected("an empty directory, or the same site")
                .next("name a new directory with --site; nothing was written"));
        }
    }
    let mut written = Vec::new();
    for (name, bytes) in files {
        let done = write(&dir.join(&name), &bytes)?;
        written.push((name, done));
    }
    Ok(written)
}

fn files(anchors: &Anchors, verified: &Verified) -> Result<Files, Failure> {
    let bundle = verified.bundle();
    let bytes = anchors.encode().map_err(|error| Failure::refused("anchors", error.to_string()))?;
    let source = bundle_toml(bundle)?;
    let images = images_toml(bundle);
    let mut hosts = BTreeMap::new();
    let mut files: Files = vec![
        (".gitignore".into(), template::GITIGNORE.into()),
        ("README.md".into(), template::README.into()),
        ("anchors".into(), bytes),
    ];
    for (name, update) in [("PK", &anchors.pk), ("KEK", &anchors.kek), ("db", &anchors.db)] {
        files.push((format!("secure-boot/{name}.auth"), update.clone()));
        let certificates = Update::parse(update).and_then(|update| update.certificates());
        // With several, the newest is the one that signs from now on.
        if let Some((_, der)) = certificates.ok().and_then(|all| all.last().copied()) {
            files.push((format!("secure-boot/{name}.crt"), pem(der).into_bytes()));
        }
    }
    for host in &bundle.hosts {
        let record = record(host);
        let text =
            record.format().map_err(|error| Failure::environment("toml", error.to_string()))?;
        files.push((format!("hosts/{}.toml", host.name), text.into_bytes()));
        hosts.insert(host.name.clone(), record);
    }
    builds_the_same(verified, &source, &images, &hosts)?;
    files.push((format!("bundles/{:06}.bundle", bundle.site.seq), verified.envelope().to_vec()));
    files.push(("images.toml".into(), images.into_bytes()));
    files.push(("bundle.toml".into(), source.into_bytes()));
    let signers: Vec<String> = anchors
        .signers
        .iter()
        .map(|blob| format_public_key(blob))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::refused("anchors", error.to_string()))?;
    let site = template::site(anchors.namespace.as_str(), anchors.threshold, &signers);
    files.push(("site.toml".into(), site.into_bytes()));
    Ok(files)
}

/// The one proof that nothing was lost on the way.
fn builds_the_same(
    verified: &Verified,
    source: &str,
    images: &str,
    hosts: &BTreeMap<Label, HostRecord>,
) -> Result<(), Failure> {
    let unreadable = |error: String| {
        Failure::environment("not-restorable", format!("what was made of the bundle: {error}"))
            .next("keep the bundle; use the version of this tool that built it")
    };
    let genesis = Genesis { base: Some(verified.clone()), ..Genesis::default() };
    let input = Input {
        namespace: &verified.bundle().site.namespace,
        bundle: &BundleSource::parse(source).map_err(|error| unreadable(error.to_string()))?,
        hosts,
        images: &ImagesSource::parse(images).map_err(|error| unreadable(error.to_string()))?,
        genesis: &genesis,
    };
    let built = compile(&input).map_err(|findings| Failure::from(Problems::from(findings)))?.bundle;
    if built.encode() == verified.bundle().encode() {
        return Ok(());
    }
    Err(unreadable("it builds to another body".to_owned())
        .expected(verified.digest())
        .found(built.difference(verified.bundle()).join("; ")))
}

fn images_toml(bundle: &Bundle) -> String {
    let mut text = template::IMAGES.trim_end().to_owned();
    for image in &bundle.images {
        text += &format!(
            "\n\n[[image]]\nversion = \"unknown\"\npcr11 = \"{}\"\nesp = \"{}\"\nauthenticode = \"{}\"",
            image.pcr11, image.esp, image.authenticode
        );
    }
    text + "\n"
}

fn record(host: &Host) -> HostRecord {
    HostRecord {
        ek: host.ek.clone(),
        ek_template: host.ek_template,
        ak: host.ak.clone(),
        pcr7: host.pcr7.to_vec(),
        boot_applications: host.boot_applications.to_vec(),
        budget_share: host.budget_share,
        sealed: host.sealed,
        retired: host.retired,
        reach: None,
        network: network(&host.network),
    }
}

fn network(network: &Network) -> NetworkRecord {
    let mac = network.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
    let prefix = |prefix: &casemate_formats::bundle::body::Prefix| {
        format!("{}/{}", prefix.address, prefix.length)
    };
    NetworkRecord {
        mac,
        vlan: network.vlan,
        addresses: network.addresses.iter().map(prefix).collect(),
        gateways: network.gateways.to_vec(),
    }
}

/// The template with what the bundle says.
fn bundle_toml(bundle: &Bundle) -> Result<String, Failure> {
    let RootWanted { custodians, threshold, generation, split, serving } = wanted(&bundle.root);
    let issued = format_time(bundle.site.issued);
    let text = template::bundle(&issued, bundle.service.port, threshold, &custodians);
    let mut document: DocumentMut = text.parse().map_err(anyhow::Error::from)?;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    edit::set(document.as_table_mut(), "seq", number(bundle.site.seq));
    let root = edit::table(&mut document, "root")?;
    for (name, number) in [("generation", generation), ("split", split), ("serving", serving)] {
        edit::set(root, name, i64::from(number));
    }
    let audit = edit::table(&mut document, "audit")?;
    edit::set(audit, "collectors_required", i64::from(bundle.audit.collectors_required));
    edit::set(audit, "overwrite", bundle.audit.overwrite);
    let mut put = |name: &str, tables: Vec<Table>| {
        if !tables.is_empty() {
            let list: ArrayOfTables = tables.into_iter().collect();
            document.as_table_mut().insert(name, Item::ArrayOfTables(list));
        }
    };
    put(
        "acknowledged_log",
        bundle
            .site
            .acknowledged_logs
            .iter()
            .map(|(host, id)| {
                let mut table = Table::new();
                table["host"] = value(host.as_str());
                table["id"] = value(id.to_string());
                table
            })
            .collect(),
    );
    put("keyring", bundle.service.keyrings.iter().map(keyring).collect());
    put("client", bundle.service.clients.iter().map(client).collect());
    put(
        "expected",
        bundle
            .expected
            .iter()
            .map(|expected| {
                let mut table = Table::new();
                table["name"] = value(expected.name.as_str());
                table["network"] = value(inline(&network(&expected.network)));
                table
            })
            .collect(),
    );
    Ok(document.to_string())
}

struct RootWanted {
    custodians: Vec<(String, String)>,
    threshold: u8,
    generation: u32,
    split: u32,
    serving: u32,
}

/// What `[root]` says: what there is, or what is asked for beyond it.
fn wanted(root: &RootSection) -> RootWanted {
    use casemate_formats::bundle::body::Recipient;
    let known = root.established.as_ref();
    let generation = known.map_or(1, |known| known.generation);
    let next = root.next.as_ref();
    let custodians = next.map_or(root.custodians.as_slice(), |next| next.custodians.as_slice());
    RootWanted {
        custodians: custodians
            .iter()
            .map(|custodian| {
                let Recipient::AgeX25519(key) = &custodian.recipient;
                (custodian.name.to_string(), format_recipient(key))
            })
            .collect(),
        threshold: next.map_or(root.threshold, |next| next.threshold),
        generation: generation + next.map_or(0, |next| u32::from(next.root)),
        split: next.map_or(root.split, |next| next.split),
        serving: known.map_or(1, |known| known.serving),
    }
}

fn keyring(keyring: &Keyring) -> Table {
    let mut table = Table::new();
    table["name"] = value(keyring.name.as_str());
    table["context"] = value(texts(keyring.context.iter()));
    if let Some(subject) = &keyring.subject {
        table["subject"] = value(subject.as_str());
    }
    let versions: Array = keyring.versions.iter().map(|of| i64::from(*of)).collect();
    table["versions"] = value(versions);
    table["first_version"] = value(i64::from(keyring.first_version));
    table
}

fn client(client: &Client) -> Table {
    let mut table = Table::new();
    table["name"] = value(client.name.as_str());
    table["keys"] = value(texts(client.keys.iter()));
    let from = client.from.iter().map(|prefix| format!("{}/{}", prefix.address, prefix.length));
    table["from"] = value(texts(from));
    table["roles"] = value(texts(client.roles.names()));
    let mut keyrings = InlineTable::new();
    for grant in &client.grants {
        keyrings.insert(grant.keyring.as_str(), Value::Array(texts(grant.roles.names())));
    }
    table["keyrings"] = value(keyrings);
    table
}

fn inline(network: &NetworkRecord) -> InlineTable {
    let mut table = InlineTable::new();
    if let Some(mac) = &network.mac {
        table.insert("mac", Value::from(mac));
    }
    if let Some(vlan) = network.vlan {
        table.insert("vlan", Value::from(i64::from(vlan)));
    }
    table.insert("addresses", Value::Array(texts(network.addresses.iter())));
    table.insert("gateways", Value::Array(texts(network.gateways.iter())));
    table
}

fn texts(items: impl Iterator<Item = impl ToString>) -> Array {
    items.map(|item| item.to_string()).collect()
}
