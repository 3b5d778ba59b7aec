//! What the event log says that the firmware did: Secure Boot's state and keys (PCR 7), what it
//! started (PCR 4). Only data that was itself measured is read.

use super::eventlog::{Event, EventLog};
use crate::{
    digest::Digest,
    efi::{
        Guid,
        variable::{GLOBAL, IMAGE_SECURITY},
    },
    measure,
};

/// Event types (TCG PC Client Platform Firmware Profile, section 10.4.1).
mod kind {
    pub const SEPARATOR: u32 = 0x04;
    pub const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    pub const BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    pub const EFI_ACTION: u32 = 0x8000_0007;
    pub const VARIABLE_AUTHORITY: u32 = 0x8000_00e0;
}

/// What stands in PCR 7 and PCR 4 in a way that Casemate does not know, so that nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// An event of a type, or a variable, that a boot of ours never measures there.
    #[error("PCR {pcr} holds an event of type {kind:#010x} that a Casemate boot does not measure")]
    Unexpected {
        /// PCR.
        pcr: u8,
        /// Event type.
        kind: u32,
    },
    /// The event's data is not what was measured.
    #[error("the data of an event in PCR {0} is not what was measured")]
    NotMeasured(u8),
    /// A variable's event is cut short or goes on.
    #[error("a variable in PCR 7 is malformed")]
    Malformed,
    /// A variable stands there twice, or after the separator.
    #[error("the variable {0} stands in PCR 7 twice or after the separator")]
    Repeated(&'static str),
    /// A variable is missing.
    #[error("the variable {0} is not in PCR 7")]
    Missing(&'static str),
    /// Not exactly one separator.
    #[error("PCR {0} has not exactly one separator")]
    Separator(u8),
}

/// Secure Boot as PCR 7 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureBoot<'a> {
    /// Value of `SecureBoot`: `[1]` when it is on.
    pub enabled: &'a [u8],
    /// EFI_SIGNATURE_LISTs of PK.
    pub pk: &'a [u8],
    /// EFI_SIGNATURE_LISTs of KEK.
    pub kek: &'a [u8],
    /// EFI_SIGNATURE_LISTs of db.
    pub db: &'a [u8],
    /// EFI_SIGNATURE_LISTs of dbx; empty when there is none.
    pub dbx: &'a [u8],
    /// EFI_SIGNATURE_DATA of db that let something run, in order.
    pub authorities: Vec<&'a [u8]>,
}

impl<'a> SecureBoot<'a> {
    /// Reads PCR 7: five variables, each once, a separator, then authorities. Nothing else.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn read(log: &EventLog<'a>) -> Result<Self, FirmwareError> {
        const NAMES: [(&str, Guid); 5] = [
            ("SecureBoot", GLOBAL),
            ("PK", GLOBAL),
            ("KEK", GLOBAL),
            ("db", IMAGE_SECURITY),
            ("dbx", IMAGE_SECURITY),
        ];
        let mut values: [Option<&'a [u8]>; 5] = [None; 5];
        let mut separators = 0_u32;
        let mut authorities = Vec::new();
        for event in log.of_pcr(7) {
            let unexpected = FirmwareError::Unexpected { pcr: 7, kind: event.kind };
            match event.kind {
                kind::SEPARATOR => separators += separator(event)?,
                kind::VARIABLE_DRIVER_CONFIG => {
                    let variable = Variable::measured(event)?;
                    let known = NAMES.iter().position(|(n, g)| variable.is(n, g));
                    let at = known.ok_or(unexpected)?;
                    if separators != 0 || values[at].replace(variable.data).is_some() {
                        return Err(FirmwareError::Repeated(NAMES[at].0));
                    }
                }
                kind::VARIABLE_AUTHORITY => {
                    let variable = Variable::measured(event)?;
                    if !variable.is("db", &IMAGE_SECURITY) {
                        return Err(unexpected);
                    }
                    authorities.push(variable.data);
                }
                _ => return Err(unexpected),
            }
        }
        if separators != 1 {
            return Err(FirmwareError::Separator(7));
        }
        let value = |at: usize| values[at].ok_or(FirmwareError::Missing(NAMES[at].0));
        Ok(Self {
            enabled: value(0)?,
            pk: value(1)?,
            kek: value(2)?,
            db: value(3)?,
            dbx: value(4)?,
            authorities,
        })
    }
}

/// What PCR 7 would be at a start that differs from this log's in its db alone, and, where one is given,
/// in the entry of db (EFI_SIGNATURE_DATA) that lets the image run. So a bundle can list the value before
/// any machine has it.
///
/// # Errors
/// As [`SecureBoot::read`].
pub fn pcr7_with_db(
    log: &EventLog<'_>,
    db: &[u8],
    authority: Option<&[u8]>,
) -> Result<Digest, FirmwareError> {
    SecureBoot::read(log)?;
    log.of_pcr(7).try_fold(Digest::ZERO, |pcr, event| {
        let changed = match event.kind {
            kind::VARIABLE_DRIVER_CONFIG => Some(db),
            kind::VARIABLE_AUTHORITY => authority,
            _ => None,
        };
        let measured = match changed {
            Some(data) => {
                let variable = Variable::measured(event)?;
                if variable.is("db", &IMAGE_SECURITY) {
                    Digest::sha256(&variable.with(data))
                } else {
                    event.digest
                }
            }
            None => event.digest,
        };
        Ok(measure::extend(pcr, measured))
    })
}

/// Authenticode hashes of the applications in PCR 4, in order. Beside them only actions and one
/// separator may stand there.
///
/// # Errors
/// The first event that is something else.
pub fn applications(log: &EventLog<'_>) -> Result<Vec<Digest>, FirmwareError> {
    let mut separators = 0_u32;
    let mut applications = Vec::new();
    for event in log.of_pcr(4) {
        match event.kind {
            kind::SEPARATOR => separators += separator(event)?,
            // "Calling…", "Returning from EFI Application from Boot Option".
            kind::EFI_ACTION if event.measures_its_data() => {}
            kind::EFI_ACTION => return Err(FirmwareError::NotMeasured(4)),
            kind::BOOT_SERVICES_APPLICATION => applications.push(event.digest),
            kind => return Err(FirmwareError::Unexpected { pcr: 4, kind }),
        }
    }
    if separators == 1 { Ok(applications) } else { Err(FirmwareError::Separator(4)) }
}

/// Four zero bytes, measured; FF would say that the firmware met an error.
fn separator(event: &Event<'_>) -> Result<u32, FirmwareError> {
    if !event.measures_its_data() {
        Err(FirmwareError::NotMeasured(event.pcr))
    } else if event.data == [0; 4] {
        Ok(1)
    } else {
        Err(FirmwareError::Separator(event.pcr))
    }
}

/// UEFI_VARIABLE_DATA: GUID, two u64 lengths, UTF-16 name without NUL, data.
struct Variable<'a> {
    guid: Guid,
    name: &'a [u8],
    data: &'a [u8],
}

impl<'a> Variable<'a> {
    fn measured(event: &Event<'a>) -> Result<Self, FirmwareError> {
        if !event.measures_its_data() {
            return Err(FirmwareError::NotMeasured(event.pcr));
        }
        Self::parse(event.data).ok_or(FirmwareError::Malformed)
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (guid, rest) = bytes.split_first_chunk::<16>()?;
        let (characters, rest) = rest.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let characters = usize::try_from(u64::from_le_bytes(*characters)).ok()?;
        let (name, data) = rest.split_at_checked(characters.checked_mul(2)?)?;
        let exact = u64::try_from(data.len()) == Ok(u64::from_le_bytes(*size));
        exact.then_some(Self { guid: Guid(*guid), name, data })
    }

    /// The same variable with other data, as it is measured.
    fn with(&self, data: &[u8]) -> Vec<u8> {
        let mut out = self.guid.0.to_vec();
        out.extend_from_slice(&(self.name.len() as u64 / 2).to_le_bytes());
        out.extend_from_slice(&(data.len() as u64).to_le_bytes());
        out.extend_from_slice(self.name);
        out.extend_from_slice(data);
        out
    }

    fn is(&self, name: &str, guid: &Guid) -> bool {
        self.guid == *guid && name.encode_utf16().flat_map(u16::to_le_bytes).eq(self.name.to_vec())
    }
}
