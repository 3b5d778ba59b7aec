//! What a host record becomes after its box was verified, and what people are told about it.

use std::net::IpAddr;

use casemate_formats::{
    bundle::{
        body::Label,
        source::{HostRecord, NetworkRecord},
    },
    digest::Digest,
    limits::PCR7_PER_HOST,
    request::verify::Attested,
};

use crate::output::Failure;

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There was none.
    New,
    /// There was one of another board under this name.
    Replaced,
    /// PCR 7 or boot applications are others.
    Updated,
    /// It says the same.
    None,
}

/// The record that lists this box: a new one, with the network under which it was expected; that of another board, with the new keys; or the old
/// one with a new PCR 7 and new applications.
///
/// # Errors
/// Another board has this name, and nobody said that it is to be replaced.
pub(super) fn record(
    old: Option<&HostRecord>,
    attested: &Attested,
    (address, network): (&str, NetworkRecord),
    replace: bool,
) -> Result<(HostRecord, Change), Failure> {
    let (ek, ek_template, ak) = attested.identity();
    let new = HostRecord {
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
    let Some(old) = old else { return Ok((new, Change::New)) };
    if (&old.ek, &old.ak) != (&new.ek, &new.ak) {
        if !replace {
            return Err(Failure::refused("host-exists", "another box has this name")
                .expected(old.ek.fingerprint().short())
                .found(new.ek.fingerprint().short())
                .next("choose another name; if this is a new board in its place, add --replace"));
        }
        // What ops wrote about the place stays, unless the new board was expected there; what was of the
        // board goes: with its hardware address the new one would find no interface of its own.
        let network = match new.network == NetworkRecord::default() {
            true => NetworkRecord { mac: None, ..old.network.clone() },
            false => new.network,
        };
        let (budget_share, sealed) = (old.budget_share, old.sealed);
        let record = HostRecord { budget_share, sealed, network, ..new };
        return Ok((record, Change::Replaced));
    }
    let record = with_state(old, attested);
    let change = if record == *old { Change::None } else { Change::Updated };
    Ok((record, change))
}

/// The record with the PCR 7 and the applications that the box has now; older values stay as far as
/// there is room.
pub(super) fn with_state(old: &HostRecord, attested: &Attested) -> HostRecord {
    let mut record = old.clone();
    if !record.pcr7.contains(&attested.pcr7()) {
        record.pcr7.push(attested.pcr7());
        let excess = record.pcr7.len().saturating_sub(PCR7_PER_HOST);
        record.pcr7.drain(..excess);
    }
    for application in &attested.other_applications {
        if !record.boot_applications.contains(application) {
            record.boot_applications.push(*application);
        }
    }
    record
}

/// A box and its record, for whoever decides.
pub(super) fn describe(
    name: &Label,
    attested: &Attested,
    record: &HostRecord,
    change: Change,
) -> String {
    let word = match change {
        Change::New => "a new box",
        Change::Replaced => "ANOTHER BOARD in the place of the one that had this name",
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
