//! `casemate host …`: which boxes a site has. A box becomes one only after its TPM, firmware and image
//! were verified and a person compared its fingerprint.

use std::{net::IpAddr, path::PathBuf};

use casemate_formats::{
    bundle::{
        body::Label,
        source::{HostRecord, NetworkRecord},
    },
    digest::Digest,
    limits::PCR7_PER_HOST,
    request::verify::{Attested, Fingerprint, Known},
};

use crate::{
    attest::{self, Terms},
    output::{Failure, Output},
    reach,
    site::{Site, Written},
};

/// Boxes of the site.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Verifies a box and writes its host record.
    Add(Add),
    /// Shows the site's host records.
    List(List),
}

/// Verifies a new box and writes its host record into the site's directory. The fingerprint is read
/// from the console of the box itself: it is what tells the box from whoever answers in its place. The
/// attestation key is challenged, the event log is replayed, and what else the firmware started is
/// shown. For a box that is listed already, a changed PCR 7 (after a firmware update) is added.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate host add alpha --site site --address 10.0.0.7 \\\n    \
    --ek '3f2a 90c1 77de 0b12 4410 9a3e 5c61 d0f8'\n  \
    casemate host add alpha --address 10.0.0.7 --ek 3f2a90c177de0b1244109a3e5c61d0f8 --yes\n\n\
    Then complete hosts/NAME.toml (addresses), build and sign a bundle, and push it.")]
pub struct Add {
    /// Its name within the site.
    name: String,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Where it is reached now.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    address: String,
    /// Fingerprint of its endorsement key, as its console shows it.
    #[arg(long, value_name = "FINGERPRINT")]
    ek: String,
    /// Do not ask before the record is written.
    #[arg(long)]
    yes: bool,
}

/// Shows the site's host records.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate host list --site site")]
pub struct List {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(output),
            Self::List(command) => command.run(output),
        }
    }
}

impl Add {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let name = Label::parse(&self.name).ok_or_else(|| {
            Failure::environment("host-name", "this is no name of a host")
                .expected("a-z, 0-9 and -, starting with a letter, at most 32 characters")
                .found(&self.name)
        })?;
        let fingerprint = Fingerprint::parse(&self.ek).ok_or_else(|| {
            Failure::environment("ek-fingerprint", "this is no fingerprint")
                .expected("at least the eight groups of four hex digits that the console shows")
                .found(&self.ek)
        })?;
        let site = Site::open(&self.site)?;
        let (anchors, images) = (site.anchors()?, site.images()?);
        if images.is_empty() {
            return Err(Failure::refused("no-image", "the site lists no image yet")
                .expected("the image that the box runs, in images.toml")
                .next("`casemate bundle add-image MANIFEST` lists one"));
        }
        let known = site.hosts()?;
        let mut connection = reach::stranger(&self.address)?;
        let terms = Terms { anchors: &anchors, images: &images, host: Known::New(&fingerprint) };
        let (_, first) = attest::verified(&mut connection, terms, None)?;
        let attested = attest::challenge(&mut connection, &first, terms)?;
        let (ek, ..) = attested.identity();
        if let Some((other, _)) = known.iter().find(|(n, record)| **n != name && record.ek == ek) {
            return Err(Failure::refused("host-exists", "this box is listed under another name")
                .expected(&name)
                .found(other)
                .next("use that name; a box has one host record"));
        }
        let arrived =
            site.bundle_source()?.expected.into_iter().find(|box_| box_.name == self.name);
        let network = arrived.map(|box_| box_.network).unwrap_or_default();
        let (record, change) = record(known.get(&name), &attested, connection.address(), network)?;
        let shown = describe(&name, &attested, &record, change);
        if change != Change::None && !self.yes {
            output.note(&shown);
            output.confirm("List this box?")?;
        }
        let written = site.write_host(&name, &record)?;
        let next = match written {
            Written::Same => "nothing was changed",
            Written::New | Written::Changed => {
                "next: `casemate bundle build`, sign, push; until then the box does not know it"
            }
        };
        output.result(
            format_args!("{shown}\n{written} hosts/{name}.toml\n{next}"),
            &serde_json::json!({
                "host": name, "file": site.path(format!("hosts/{name}.toml")), "written": written,
                "record": record, "phase": attested.claims.phase,
                "other_applications": attested.other_applications,
            }),
        );
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    New,
    Updated,
    None,
}

/// The record that lists this box: a new one (with the network under which it was expected), or the old one with a new PCR 7 and new applications.
fn record(
    old: Option<&HostRecord>,
    attested: &Attested,
    address: &str,
    network: NetworkRecord,
) -> Result<(HostRecord, Change), Failure> {
    let (ek, ek_template, ak) = attested.identity();
    let Some(old) = old else {
        let record = HostRecord {
            ek,
            ek_template,
            ak,
            pcr7: vec![attested.pcr7()],
            boot_applications: attested.other_applications.clone(),
            budget_share: None,
            sealed: true,
            retired: false,
            reach: Some(address.to_owned()),
            network,
        };
        return Ok((record, Change::New));
    };
    if (&old.ek, &old.ak) != (&ek, &ak) {
        return Err(Failure::refused("host-exists", "another box has this name")
            .expected(old.ek.fingerprint().short())
            .found(ek.fingerprint().short())
            .next(
                "choose another name; for a new board under the old name remove hosts/NAME.toml",
            ));
    }
    let mut record = old.clone();
    if !record.pcr7.contains(&attested.pcr7()) {
        record.pcr7.push(attested.pcr7());
        // The oldest goes: after a firmware update it never comes back.
        let excess = record.pcr7.len().saturating_sub(PCR7_PER_HOST);
        record.pcr7.drain(..excess);
    }
    for application in &attested.other_applications {
        if !record.boot_applications.contains(application) {
            record.boot_applications.push(*application);
        }
    }
    let change = if record == *old { Change::None } else { Change::Updated };
    Ok((record, change))
}

fn describe(name: &Label, attested: &Attested, record: &HostRecord, change: Change) -> String {
    let word = match change {
        Change::New => "a new box",
        Change::Updated => "listed already, now with another PCR 7 or boot application",
        Change::None => "listed already",
    };
    let others = match attested.other_applications.as_slice() {
        [] => "nothing else".to_owned(),
        all => format!(
            "{} (firmware may measure a shell that it then refuses; find out what it is)",
            all.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ")
        ),
    };
    format!(
        "{name}: {word}\n\
         EK         {} (as on its console)\n\
         AK         in the same TPM\n\
         image      {} under the site's Secure Boot keys\n\
         PCR 7      {}\n\
         started    {others}\n\
         phase      {}\n\
         network    {}",
        record.ek.fingerprint().short(),
        attested.image.pcr11,
        attested.pcr7(),
        attested.claims.phase,
        network(record),
    )
}

/// What the record says, or what could be written into it.
fn network(record: &HostRecord) -> String {
    if !record.network.addresses.is_empty() {
        return record.network.addresses.join(", ");
    }
    let reached = record.reach.as_deref().unwrap_or_default();
    let host = reached.rsplit_once(':').map_or(reached, |(host, _)| host);
    let example = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("{v6}/64"),
        Ok(v4) if !v4.is_loopback() => format!("{v4}/24"),
        _ => "10.0.0.7/24".to_owned(),
    };
    format!("DHCP; for a fixed address write addresses = [\"{example}\"] under [network]")
}

impl List {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let hosts = Site::open(&self.site)?.hosts()?;
        let lines: Vec<String> = hosts
            .iter()
            .map(|(name, record)| {
                let state = match (record.retired, record.sealed) {
                    (true, _) => "retired",
                    (false, true) => "sealed",
                    (false, false) => "not sealed",
                };
                let reach = reach::address_of(name, record).unwrap_or_else(|_| "-".to_owned());
                format!("{name}  {}  {reach}  {state}", record.ek.fingerprint().short())
            })
            .collect();
        let text = if lines.is_empty() { "no host yet".to_owned() } else { lines.join("\n") };
        output.result(text, &hosts);
        Ok(())
    }
}
