//! Two event logs of one box in words: which Secure Boot variable, authority or event differs. For a
//! person who has to say whether that is the firmware update that was made.

use std::fmt::Write as _;

use casemate_formats::{
    digest::Digest,
    request::{
        eventlog::{Event, EventLog},
        firmware::SecureBoot,
        verify::Refusal,
    },
};

use crate::output::Failure;

/// Events shown of one PCR and direction; a log has hundreds, and nobody reads more.
const SHOWN: usize = 6;
/// What each PCR is for (TCG PC Client Platform Firmware Profile, section 3.3.4).
const PURPOSE: [&str; 11] = [
    "firmware code",
    "firmware settings",
    "option ROMs",
    "option ROM settings",
    "what was started",
    "boot settings",
    "platform",
    "Secure Boot",
    "boot loader's",
    "boot loader's",
    "boot loader's",
];

/// What `new` says otherwise than `old`. Without an old log: how Secure Boot stands now.
///
/// # Errors
/// The new log, which was verified, cannot be read; never the old one.
pub fn difference(old: Option<&[u8]>, new: &[u8]) -> Result<Vec<String>, Failure> {
    let new = EventLog::parse(new).map_err(Refusal::from)?;
    let now = SecureBoot::read(&new).map_err(Refusal::from)?;
    let old = old.and_then(|bytes| EventLog::parse(bytes).ok());
    let Some(old) = old else {
        let mut lines = vec![
            "no event log of before is kept, so nothing can be compared. Secure Boot now:"
                .to_owned(),
        ];
        for (name, value) in variables(&now) {
            lines.push(format!("  {name}: {}", entries_in_words(&entries(value))));
        }
        return Ok(lines);
    };
    let mut lines = Vec::new();
    match SecureBoot::read(&old) {
        Ok(before) => {
            for ((name, before), (_, now)) in variables(&before).into_iter().zip(variables(&now)) {
                variable(name, before, now, &mut lines);
            }
            for gone in before.authorities.iter().filter(|a| !now.authorities.contains(a)) {
                lines.push(format!("no longer started under the authority {}", entry(gone)));
            }
            for come in now.authorities.iter().filter(|a| !before.authorities.contains(a)) {
                lines.push(format!("now started under the authority {}", entry(come)));
            }
        }
        Err(error) => lines.push(format!("the former Secure Boot state cannot be read: {error}")),
    }
    let (before, after) = (old.replay(), new.replay());
    for (pcr, purpose) in PURPOSE.iter().enumerate().filter(|(pcr, _)| *pcr != 7) {
        if before[pcr] != after[pcr] {
            events(pcr, purpose, &old, &new, &mut lines);
        }
    }
    if lines.is_empty() {
        lines.push("the firmware measured the same as when the box was listed".to_owned());
    }
    Ok(lines)
}

fn variables<'a>(state: &SecureBoot<'a>) -> [(&'static str, &'a [u8]); 4] {
    [("PK", state.pk), ("KEK", state.kek), ("db", state.db), ("dbx", state.dbx)]
}

fn variable(name: &str, before: &[u8], now: &[u8], lines: &mut Vec<String>) {
    if before == now {
        return;
    }
    let (before, now) = (entries(before), entries(now));
    let only = |some: &[Entry], others: &[Entry]| -> Vec<Entry> {
        some.iter().filter(|entry| !others.contains(entry)).cloned().collect()
    };
    let (gone, come) = (only(&before, &now), only(&now, &before));
    if !come.is_empty() {
        lines.push(format!("{name}: added {}", entries_in_words(&come)));
    }
    if !gone.is_empty() {
        lines.push(format!("{name}: removed {}", entries_in_words(&gone)));
    }
    if come.is_empty() && gone.is_empty() {
        lines.push(format!("{name}: the same entries in another form or order"));
    }
}

/// An entry of a signature list: its kind, and its data in short.
type Entry = (&'static str, String);

/// Entries of EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1); what cannot be read is one entry by its hash.
fn entries(mut content: &[u8]) -> Vec<Entry> {
    /// EFI_CERT_SHA256_GUID and EFI_CERT_X509_GUID.
    const HASH: [u8; 16] = *b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28";
    const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
    let mut found = Vec::new();
    while !content.is_empty() {
        let Some((kind, size, header, each)) = list_header(content) else {
            found.push(("unreadable bytes", Digest::sha256(content).short()));
            break;
        };
        let body = content.get(28 + header..size).unwrap_or_default();
        for entry in body.chunks(each.max(17)) {
            let data = entry.get(16..).unwrap_or_default();
            found.push(match (kind, <[u8; 32]>::try_from(data)) {
                (HASH, Ok(hash)) => ("hash", Digest(hash).short()),
                (X509, _) => ("certificate", Digest::sha256(data).short()),
                _ => ("entry", Digest::sha256(data).short()),
            });
        }
        content = content.get(size..).unwrap_or_default();
    }
    found
}

fn list_header(content: &[u8]) -> Option<([u8; 16], usize, usize, usize)> {
    let kind = *content.first_chunk::<16>()?;
    let number = |at: usize| {
        let bytes = content.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let (size, header, each) = (number(16)?, number(20)?, number(24)?);
    let fits = (28..=content.len()).contains(&size) && header <= size - 28;
    fits.then_some((kind, size, header, each))
}

fn entries_in_words(entries: &[Entry]) -> String {
    let mut text = format!("{} entries", entries.len());
    if entries.is_empty() {
        return "nothing".to_owned();
    }
    for (at, (kind, digest)) in entries.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{} {kind} {digest}", if at == 0 { ":" } else { "," });
    }
    if entries.len() > SHOWN {
        let _ = write!(text, " and {} more", entries.len() - SHOWN);
    }
    text
}

fn entry(data: &[u8]) -> String {
    format!("certificate {}", Digest::sha256(data.get(16..).unwrap_or_default()).short())
}

/// Events of one PCR that only one of the logs has.
fn events(
    pcr: usize,
    purpose: &str,
    old: &EventLog<'_>,
    new: &EventLog<'_>,
    lines: &mut Vec<String>,
) {
    let of = |log: &EventLog<'_>| -> Vec<(u32, Digest, String)> {
        let pcr = u8::try_from(pcr).unwrap_or(u8::MAX);
        log.of_pcr(pcr).map(|event| (event.kind, event.digest, data(event))).collect()
    };
    let (before, now) = (of(old), of(new));
    let mut count = 0;
    for (word, some, others) in [("no longer", &before, &now), ("now", &now, &before)] {
        let only = some.iter().filter(|event| !others.contains(event));
        for (at, (kind, digest, data)) in only.enumerate() {
            count += 1;
            if at == SHOWN {
                lines.push(format!("PCR {pcr} ({purpose}): {word} more events"));
            } else if at < SHOWN {
                lines.push(format!(
                    "PCR {pcr} ({purpose}): {word} {} {}{data}",
                    kind_name(*kind),
                    &digest.short()[..9]
                ));
            }
        }
    }
    if count == 0 {
        lines.push(format!("PCR {pcr} ({purpose}): the same events in another order or number"));
    }
}

/// Readable data of an event, never more than a few words.
fn data(event: &Event<'_>) -> String {
    let ascii = |bytes: &[u8]| -> String {
        bytes
            .iter()
            .filter(|b| b.is_ascii_graphic() || **b == b' ')
            .map(|b| char::from(*b))
            .collect()
    };
    let text = ascii(event.data);
    if text.len() < 4 || text.len() * 3 < event.data.len() {
        return String::new();
    }
    format!(" \"{}\"", text.chars().take(48).collect::<String>())
}

/// Event types of the profile's section 10.4.1.
fn kind_name(kind: u32) -> &'static str {
    match kind {
        0x01 => "POST code",
        0x04 => "separator",
        0x05 => "action",
        0x07 => "CRTM contents",
        0x08 => "CRTM version",
        0x0a => "platform configuration",
        0x0b => "table of devices",
        0x0d => "IPL data",
        0x0e => "IPL data",
        0x11 => "non-host configuration",
        0x8000_0001 => "variable",
        0x8000_0002 => "boot variable",
        0x8000_0003 => "application",
        0x8000_0004 => "boot driver",
        0x8000_0005 => "runtime driver",
        0x8000_0006 => "partition table",
        0x8000_0007 => "EFI action",
        0x8000_0008 | 0x8000_000a => "firmware volume",
        0x8000_0009 | 0x8000_000b => "table",
        0x8000_000c => "boot variable",
        0x8000_00e0 => "authority",
        _ => "event",
    }
}
