//! A firmware's boot in software: the event log of a machine under a site's Secure Boot keys that
//! started an image, and the extends that bring a TPM into the same state. `tests/host` applies them
//! to swtpm before it starts, so that the verifier works there as on a real boot.

use casemate_formats::{
    anchors::Anchors,
    bundle::body::Image,
    digest::Digest,
    efi::{
        Guid,
        variable::{GLOBAL, IMAGE_SECURITY, Update},
    },
    measure,
};

const NO_ACTION: u32 = 0x03;
const SEPARATOR: u32 = 0x04;
const IPL: u32 = 0x0d;
const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const APPLICATION: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;
const AUTHORITY: u32 = 0x8000_00e0;

/// One event: PCR, type, what is extended, data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// PCR.
    pub pcr: u32,
    /// Event type.
    pub kind: u32,
    /// What is extended (of the sha256 bank).
    pub digest: Digest,
    /// Event data.
    pub data: Vec<u8>,
}

impl Event {
    /// An event that measures its data.
    #[must_use]
    pub fn of(pcr: u32, kind: u32, data: Vec<u8>) -> Self {
        Self { pcr, kind, digest: Digest::sha256(&data), data }
    }

    /// A started application: its Authenticode hash, with a device path that is not measured.
    #[must_use]
    pub fn application(authenticode: Digest) -> Self {
        let path = [0x04, 0x04, 0x04, 0x00, 0x7f, 0xff, 0x04, 0x00];
        Self { pcr: 4, kind: APPLICATION, digest: authenticode, data: path.to_vec() }
    }

    /// A Secure Boot variable in PCR 7 before the separator.
    #[must_use]
    pub fn variable(name: &str, guid: &Guid, value: &[u8]) -> Self {
        Self::of(7, VARIABLE_DRIVER_CONFIG, variable_data(name, guid, value))
    }

    /// An entry of db that let something run.
    #[must_use]
    pub fn authority(entry: &[u8]) -> Self {
        Self::of(7, AUTHORITY, variable_data("db", &IMAGE_SECURITY, entry))
    }

    fn action(pcr: u32, text: &str) -> Self {
        Self::of(pcr, ACTION, text.as_bytes().to_vec())
    }
}

/// A boot as OVMF logs it (facts: PCR 4 and 7 of a removable-path start). Tests change `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareLog {
    /// Extended events in order.
    pub events: Vec<Event>,
    /// Banks that the header names: algorithm and digest size.
    pub banks: Vec<(u16, u16)>,
}

impl FirmwareLog {
    /// The boot of an image of these sections (PCR 11) and this Authenticode hash, under the site's
    /// keys.
    ///
    /// # Panics
    /// The anchors' variables are not signed updates with a certificate.
    #[must_use]
    pub fn boot(anchors: &Anchors, sections: &[(&str, &[u8])], authenticode: Digest) -> Self {
        let list = |update| Update::parse(update).expect("a signed update").list;
        let certificates = Update::parse(&anchors.db).and_then(|db| db.certificates());
        let certificates = certificates.expect("certificates in db");
        let (owner, der) = certificates.first().expect("a certificate in db");
        let mut events = vec![
            Event::of(0, 0x08, b"firmware version\0".to_vec()),
            Event::variable("SecureBoot", &GLOBAL, &[1]),
            Event::variable("PK", &GLOBAL, list(&anchors.pk)),
            Event::variable("KEK", &GLOBAL, list(&anchors.kek)),
            Event::variable("db", &IMAGE_SECURITY, list(&anchors.db)),
            Event::variable("dbx", &IMAGE_SECURITY, &[]),
            Event::of(7, SEPARATOR, vec![0; 4]),
            Event::action(4, "Calling EFI Application from Boot Option"),
        ];
        events.extend([0, 1, 2, 3, 4, 5, 6].map(|pcr| Event::of(pcr, SEPARATOR, vec![0; 4])));
        events.push(Event::authority(&[&owner.0, *der].concat()));
        events.push(Event::application(authenticode));
        for name in measure::MEASURED_SECTIONS {
            if let Some((_, data)) = sections.iter().find(|(n, _)| *n == name) {
                let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
                for measured in [[name.as_bytes(), &[0]].concat(), data.to_vec()] {
                    let digest = Digest::sha256(&measured);
                    events.push(Event { pcr: 11, kind: IPL, digest, data: text.clone() });
                }
            }
        }
        events.push(Event::of(9, 0x06, b"LOADED_IMAGE::LoadOptions".to_vec()));
        Self { events, banks: vec![(0x000b, 32)] }
    }

    /// The image that [`Self::boot`] started, as a bundle lists it.
    #[must_use]
    pub fn image(sections: &[(&str, &[u8])], authenticode: Digest, esp: Digest) -> Image {
        let pcr11 = measure::phase(measure::uki_pcr11(sections), measure::ENTER);
        Image { pcr11, esp, authenticode }
    }

    /// The log's bytes, crypto-agile (TCG PC Client Platform Firmware Profile, 10.2).
    ///
    /// # Panics
    /// Event data of 4 GiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut header = b"Spec ID Event03\0".to_vec();
        header.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 2]);
        header.extend_from_slice(&length(self.banks.len()));
        for (algorithm, size) in &self.banks {
            header.extend_from_slice(&algorithm.to_le_bytes());
            header.extend_from_slice(&size.to_le_bytes());
        }
        header.push(0);
        let mut out = [0_u32, NO_ACTION].map(u32::to_le_bytes).concat();
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&length(header.len()));
        out.extend_from_slice(&header);
        for event in &self.events {
            out.extend_from_slice(&event.pcr.to_le_bytes());
            out.extend_from_slice(&event.kind.to_le_bytes());
            out.extend_from_slice(&length(self.banks.len()));
            for (algorithm, size) in &self.banks {
                out.extend_from_slice(&algorithm.to_le_bytes());
                if *algorithm == 0x000b {
                    out.extend_from_slice(&event.digest.0);
                } else {
                    out.extend(std::iter::repeat_n(0xdd, (*size).into()));
                }
            }
            out.extend_from_slice(&length(event.data.len()));
            out.extend_from_slice(&event.data);
        }
        out
    }

    /// What has to be extended, in order: PCR and digest (sha256 bank).
    pub fn extends(&self) -> impl Iterator<Item = (u32, Digest)> {
        let extended = self.events.iter().filter(|event| event.kind != NO_ACTION);
        extended.map(|event| (event.pcr, event.digest))
    }

    /// PCRs 0 to 15 as the firmware leaves them, before PID 1's two words.
    #[must_use]
    pub fn pcrs(&self) -> [Digest; 16] {
        let mut pcrs = [Digest::ZERO; 16];
        for (pcr, digest) in self.extends() {
            if let Some(value) = usize::try_from(pcr).ok().and_then(|pcr| pcrs.get_mut(pcr)) {
                *value = measure::extend(*value, digest);
            }
        }
        pcrs
    }

    /// The same as raw TPM2_PCR_Extend commands (TPM 2.0 Part 3, 22.2), for a TPM's command socket:
    /// each is answered by 19 bytes, whose bytes 6 to 9 (the response code) are zero.
    #[must_use]
    pub fn commands(&self) -> Vec<Vec<u8>> {
        self.extends().map(|(pcr, digest)| extend_command(pcr, &digest)).collect()
    }
}

/// TPM_ST_SESSIONS, size, TPM_CC_PCR_Extend, handle, one empty password session, one sha256 digest.
fn extend_command(pcr: u32, digest: &Digest) -> Vec<u8> {
    let mut body = pcr.to_be_bytes().to_vec();
    body.extend_from_slice(&9_u32.to_be_bytes());
    body.extend_from_slice(&[0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[0, 0, 0, 1, 0x00, 0x0b]);
    body.extend_from_slice(&digest.0);
    let size = u32::try_from(10 + body.len()).expect("65 bytes");
    let mut command = vec![0x80, 0x02];
    command.extend_from_slice(&size.to_be_bytes());
    command.extend_from_slice(&0x0182_u32.to_be_bytes());
    command.extend_from_slice(&body);
    command
}

/// UEFI_VARIABLE_DATA.
fn variable_data(name: &str, guid: &Guid, value: &[u8]) -> Vec<u8> {
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut out = guid.0.to_vec();
    out.extend_from_slice(&(utf16.len() as u64 / 2).to_le_bytes());
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(&utf16);
    out.extend_from_slice(value);
    out
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("far below 4 GiB").to_le_bytes()
}
