//! Why a request or a genesis answer is refused: its stable code (which says what to do next), what
//! was expected and what was found.

use std::fmt::Display;

use crate::{
    code::Code,
    request::{eventlog::EventLogError, firmware::FirmwareError, quote::QuoteError},
};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, found {found}", code.slug())]
pub struct Refusal {
    /// Which check.
    pub code: Code,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Refusal {
    /// A refusal by this code.
    pub fn new(code: Code, expected: impl Display, found: impl Display) -> Self {
        Self { code, expected: expected.to_string(), found: found.to_string() }
    }
}

/// TPML_PCR_SELECTION of one bank that is not SHA-256 begins so: count 1, then another algorithm.
fn is_other_bank(selection: &str) -> bool {
    selection.starts_with("00000001") && !selection.starts_with("00000001000b")
}

impl From<QuoteError> for Refusal {
    fn from(error: QuoteError) -> Self {
        let sentence = error.to_string();
        match error {
            QuoteError::Truncated
            | QuoteError::TrailingBytes
            | QuoteError::Magic
            | QuoteError::Type(_)
            | QuoteError::SignatureFormat => {
                Self::new(Code::QuoteMalformed, "one quote and nothing behind it", sentence)
            }
            QuoteError::Signer | QuoteError::Signature => {
                Self::new(Code::QuoteSignature, "the attestation key", sentence)
            }
            QuoteError::ExtraData { expected, found } => Self::new(
                Code::QuoteContent,
                format_args!("extraData {expected}"),
                format_args!("extraData {found}"),
            ),
            QuoteError::Selection { found } => {
                let code = if is_other_bank(&found) { Code::PcrBank } else { Code::PcrSelection };
                Self::new(code, "selection 00000001000b03ffff00", format_args!("selection {found}"))
            }
            QuoteError::Pcrs { expected, found } => Self::new(
                Code::QuoteContent,
                format_args!("PCR values of digest {expected}"),
                format_args!("values of digest {found}"),
            ),
        }
    }
}

impl From<EventLogError> for Refusal {
    fn from(error: EventLogError) -> Self {
        Self::new(Code::EventLog, "a whole crypto-agile event log with sha256 digests", error)
    }
}

impl From<FirmwareError> for Refusal {
    fn from(error: FirmwareError) -> Self {
        const PCR_7: &str =
            "SecureBoot, PK, KEK, db and dbx once each, a separator, authorities of db";
        const PCR_4: &str = "actions, a separator and applications in PCR 4";
        match error {
            FirmwareError::Unexpected { pcr: 4, .. }
            | FirmwareError::NotMeasured(4)
            | FirmwareError::Separator(4) => Self::new(Code::BootApplication, PCR_4, error),
            FirmwareError::Unexpected { .. } => Self::new(Code::BootAuthority, PCR_7, error),
            FirmwareError::NotMeasured(_)
            | FirmwareError::Separator(_)
            | FirmwareError::Malformed
            | FirmwareError::Repeated(_)
            | FirmwareError::Missing(_) => Self::new(Code::SecureBootKeys, PCR_7, error),
        }
    }
}
