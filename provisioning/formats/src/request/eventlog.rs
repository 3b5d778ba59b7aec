//! The firmware's event log (TCG PC Client Platform Firmware Profile 1.06, section 10): what was
//! extended into the PCRs before PID 1, and what the PCRs must then hold. The log itself is worth
//! nothing; its replay is compared with quoted values.

use super::wire::{Reader, Truncated};
use crate::digest::Digest;

/// Bytes of a log. OVMF's has 16 KiB; servers with many option ROMs 64 KiB and more.
pub const MAX_BYTES: usize = 512 * 1024;
/// Events of a log: each has at least 50 bytes, none of ours has more than a few hundred.
const MAX_EVENTS: usize = 4_096;
/// Banks of a log: a TPM allocates at most a handful (TPM 2.0 has fewer than 16 hashes).
const MAX_BANKS: u32 = 16;
/// PCRs of a bank.
const PCRS: usize = 24;

/// EV_NO_ACTION: information, never extended.
const NO_ACTION: u32 = 0x03;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// Signature of the crypto-agile format, in the first event.
const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";
/// Names the locality from which the TPM was started: PCR 0's first value.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Why bytes are not an event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// It ends within an event.
    #[error("the event log is cut short")]
    Truncated,
    /// More bytes or events than any firmware writes.
    #[error("the event log is too long")]
    TooLong,
    /// The first event is not the crypto-agile header.
    #[error("the event log has no crypto-agile header (Spec ID Event03)")]
    Header,
    /// No sha256 digests.
    #[error("the event log has no sha256 digests")]
    NoSha256,
    /// An event lacks a bank's digest, or has one of a bank that the header does not name.
    #[error("event {0} has other digests than the header announces")]
    Digests(usize),
    /// An event names a PCR that does not exist.
    #[error("event {0} names a PCR above 23")]
    Pcr(usize),
    /// The startup locality comes after PCR 0 was extended, twice, or is not 0, 3 or 4.
    #[error("event {0} is no startup locality at its place")]
    StartupLocality(usize),
}

impl From<Truncated> for EventLogError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// One extended event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Which PCR.
    pub pcr: u8,
    /// Event type (section 10.4.1).
    pub kind: u32,
    /// What was extended into the sha256 bank.
    pub digest: Digest,
    /// Event data: covered by the digest for some types only.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// Whether the digest is that of the data, so that the data was measured.
    #[must_use]
    pub fn measures_its_data(&self) -> bool {
        Digest::sha256(self.data) == self.digest
    }
}

/// A parsed log: extended events in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
    locality: u8,
}

impl<'a> EventLog<'a> {
    /// Parses a log to its last byte.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        if bytes.len() > MAX_BYTES {
            return Err(EventLogError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let banks = header(&mut reader)?;
        let mut log = Self { events: Vec::new(), locality: 0 };
        let mut index = 0;
        let mut locality_known = false;
        while !reader.is_empty() {
            index += 1;
            if index > MAX_EVENTS {
                return Err(EventLogError::TooLong);
            }
            let (pcr, kind) = (reader.u32_le()?, reader.u32_le()?);
            let digest = sha256_of(&mut reader, &banks, index)?;
            let size = reader.u32_le()?;
            let data = reader.take(usize::try_from(size).map_err(|_| EventLogError::Truncated)?)?;
            if kind == NO_ACTION {
                if let Some(rest) = data.strip_prefix(STARTUP_LOCALITY) {
                    // Section 10.4.5.3: before anything is extended into PCR 0; H-CRTM is locality 4.
                    let first = !locality_known && log.of_pcr(0).next().is_none();
                    log.locality = match (rest, pcr, first) {
                        ([locality @ (0 | 3 | 4)], 0, true) => *locality,
                        _ => return Err(EventLogError::StartupLocality(index)),
                    };
                    locality_known = true;
                }
                continue;
            }
            let pcr = u8::try_from(pcr).ok().filter(|pcr| usize::from(*pcr) < PCRS);
            let pcr = pcr.ok_or(EventLogError::Pcr(index))?;
            log.events.push(Event { pcr, kind, digest, data });
        }
        Ok(log)
    }

    /// Every extended event, in order.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// Events of one PCR, in order.
    pub fn of_pcr(&self, pcr: u8) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.pcr == pcr)
    }

    /// What PCR 0 to 15 hold after these events (PCRs that no event names: zero).
    #[must_use]
    pub fn replay(&self) -> [Digest; 16] {
        let mut pcrs = [Digest::ZERO; 16];
        pcrs[0].0[31] = self.locality;
        for event in &self.events {
            if let Some(pcr) = pcrs.get_mut(usize::from(event.pcr)) {
                *pcr = extend(pcr, &event.digest);
            }
        }
        pcrs
    }
}

/// `PCR = H(PCR || digest)`.
fn extend(pcr: &Digest, digest: &Digest) -> Digest {
    Digest::sha256(&[pcr.0, digest.0].concat())
}

/// The first event, in the old format: names the banks (algorithm, digest size).
fn header(reader: &mut Reader<'_>) -> Result<Vec<(u16, u16)>, EventLogError> {
    let (pcr, kind) = (reader.u32_le()?, reader.u32_le()?);
    let sha1: [u8; 20] = reader.array()?;
    let size = reader.u32_le()?;
    if (pcr, kind, sha1) != (0, NO_ACTION, [0; 20]) {
        return Err(EventLogError::Header);
    }
    let mut body =
        Reader::new(reader.take(usize::try_from(size).map_err(|_| EventLogError::Truncated)?)?);
    if body.take(SPEC_ID.len())? != SPEC_ID {
        return Err(EventLogError::Header);
    }
    // Platform class, minor, major, errata, size of UINTN.
    body.take(8)?;
    let count = body.u32_le()?;
    if count > MAX_BANKS {
        return Err(EventLogError::Header);
    }
    let mut banks = Vec::new();
    for _ in 0..count {
        let bank = (body.u16_le()?, body.u16_le()?);
        if banks.iter().any(|(known, _)| *known == bank.0) {
            return Err(EventLogError::Header);
        }
        banks.push(bank);
    }
    let vendor = body.u8()?;
    body.take(vendor.into())?;
    if !body.is_empty() {
        return Err(EventLogError::Header);
    }
    match banks.iter().find(|(algorithm, _)| *algorithm == SHA256) {
        Some((_, 32)) => Ok(banks),
        Some(_) => Err(EventLogError::Header),
        None => Err(EventLogError::NoSha256),
    }
}

/// TPML_DIGEST_VALUES: one digest of every bank, none twice; the sha256 one.
fn sha256_of(
    reader: &mut Reader<'_>,
    banks: &[(u16, u16)],
    index: usize,
) -> Result<Digest, EventLogError> {
    let count = reader.u32_le()?;
    if usize::try_from(count) != Ok(banks.len()) {
        return Err(EventLogError::Digests(index));
    }
    let mut seen = Vec::with_capacity(banks.len());
    let mut sha256 = None;
    for _ in 0..count {
        let algorithm = reader.u16_le()?;
        let bank = banks.iter().find(|(known, _)| *known == algorithm);
        let (_, size) = bank.ok_or(EventLogError::Digests(index))?;
        if seen.contains(&algorithm) {
            return Err(EventLogError::Digests(index));
        }
        seen.push(algorithm);
        let digest = reader.take(usize::from(*size))?;
        if algorithm == SHA256 {
            sha256 = digest.try_into().ok().map(Digest);
        }
    }
    sha256.ok_or(EventLogError::Digests(index))
}
