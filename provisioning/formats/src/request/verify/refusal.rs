//! Why a request or a genesis answer is refused: a stable name, what was expected, what was found,
//! what to do next.

use std::fmt::Display;

use crate::request::{eventlog::EventLogError, firmware::FirmwareError, quote::QuoteError};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, found {found}", reason.name())]
pub struct Refusal {
    /// Which check.
    pub reason: Reason,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, expected: impl Display, found: impl Display) -> Self {
        Self { reason, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Declares the reasons: variant, stable name, sentence, what to do next.
macro_rules! reasons {
    ($($variant:ident $name:literal $sentence:literal, $next:literal;)*) => {
        /// Which check did not hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $sentence] $variant,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Stable name, as runbooks have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// What to do next.
            #[must_use]
            pub const fn next(self) -> &'static str {
                match self { $(Self::$variant => $next,)* }
            }
        }
    };
}

reasons! {
    WrongNonce "wrong-nonce" "the request answers another question",
        "fetch a new one; if it happens again, somebody replays old answers";
    EkTemplate "ek-template" "the endorsement key is not made from a known template",
        "the TPM needs an ECC endorsement key (L-2 or H-3); check its firmware";
    AkMalformed "ak-malformed" "the attestation key is not an ECDSA P-256 key",
        "do not trust this box: the firmware makes no such key";
    AkAttributes "ak-attributes" "the attestation key could sign what its TPM did not say, or leave it",
        "do not trust this box: the firmware makes no such key";
    WrongEk "wrong-ek" "another TPM answers than the one that was expected",
        "read the fingerprint from the console of the box itself, and check its address";
    WrongAk "wrong-ak" "another attestation key answers than the listed one",
        "do not trust this box: EK and AK of one TPM never change";
    PcrCount "pcr-count" "the request does not carry sixteen PCR values",
        "do not trust this box: the firmware sends sixteen";
    QuoteMalformed "quote-malformed" "the quote is cut short or no quote",
        "fetch a new request; if it happens again, do not trust this box";
    QuoteTrailingBytes "quote-trailing-bytes" "the quote has trailing bytes",
        "do not trust this box: no TPM makes such a quote";
    QuoteSigner "quote-signer" "the quote names another signer than the attestation key",
        "do not trust this box";
    QuoteExtraData "quote-extra-data" "the quote was made for other data than what came with it",
        "something on the way changed the answer: check the network, then do not trust this box";
    QuoteSelection "quote-selection" "the quote does not cover exactly PCRs 0 to 15 of the sha256 bank",
        "do not trust this box: the firmware quotes exactly these";
    QuotePcrs "quote-pcrs" "the PCR values are not those that were quoted",
        "fetch a new request; if it happens again, do not trust this box";
    QuoteSignature "quote-signature" "the signature is not the attestation key's",
        "do not trust this box";
    UnknownPhase "unknown-phase" "the box names a phase that does not exist",
        "use the version of this tool that belongs to the image";
    EventLogMalformed "event-log-malformed" "the event log is cut short or malformed",
        "fetch a new request; if it happens again, update the machine's firmware";
    EventLogNoSha256 "event-log-no-sha256" "the event log has no sha256 digests",
        "activate the sha256 PCR bank in the firmware's set-up";
    EventLogReplay "event-log-replay" "the event log does not lead to the quoted PCRs",
        "do not trust this box: its log was changed, or its firmware logs less than it measures";
    Phase "pcr-11-phase" "PCR 11 is not the image's followed by enter-casemate and leave-casemate",
        "do not trust this box: it runs something else";
    Pcr12Extended "pcr-12-extended" "the boot was changed: command line or credentials beside the image",
        "remove them from the ESP and power-cycle the box";
    Pcr13Extended "pcr-13-extended" "the boot was changed: extensions beside the image",
        "remove them from the ESP and power-cycle the box";
    Pcr7Malformed "pcr-7-events" "PCR 7 holds something that a boot of ours does not measure",
        "check the firmware's set-up (debug mode, DMA protection, further key variables)";
    SecureBootOff "secure-boot-off" "Secure Boot is off",
        "switch it on in the firmware's set-up";
    ForeignPk "foreign-pk" "PK is not the site's",
        "clear the Secure Boot keys in the firmware's set-up (set-up mode) and boot the site's image";
    ForeignKek "foreign-kek" "KEK is not the site's",
        "clear the Secure Boot keys in the firmware's set-up (set-up mode) and boot the site's image";
    ForeignDb "foreign-db" "db is not exactly the site's",
        "clear the Secure Boot keys in the firmware's set-up (set-up mode) and boot the site's image";
    ForeignAuthority "foreign-authority" "something ran that the site's db did not let in",
        "find out what the firmware started (an option ROM, a boot loader), and take it out";
    NoAuthority "no-authority" "nothing was let in by the site's db",
        "do not trust this box: the running image cannot have been checked";
    Pcr4Malformed "pcr-4-events" "PCR 4 holds something that a boot of ours does not measure",
        "find out what the firmware started";
    LastApplication "last-application" "what the firmware started last is not the listed image",
        "rebuild the manifest's image and flash it, or list the image that runs";
    UnlistedApplication "unlisted-application" "the firmware started something that the host record does not list",
        "find out what it is; if it is the firmware's own, `casemate host add` again and sign a bundle";
    WrongImageClaim "wrong-image-claim" "the box claims another image than PCR 11 shows",
        "do not trust this box";
    ImageNotListed "image-not-listed" "the running image is not listed",
        "flash a listed image, or add this one's manifest to the site and sign a bundle";
    Pcr7NotListed "pcr-7-not-listed" "PCR 7 is not one that the host record lists",
        "if its firmware was updated on purpose, add the new value to the host record and sign a bundle";
    Anchors "anchors" "the site's own Secure Boot variables cannot be read",
        "restore the site's directory";
    GenesisNotAsked "genesis-not-asked" "the bundle asks for no root and no split",
        "nothing is to be done; for a next root say so in the site and sign a bundle";
    GenesisBundle "genesis-bundle" "the answer belongs to another bundle",
        "push the bundle in force first, then run genesis again";
    GenesisSplit "genesis-split" "the answer is of another split than the bundle asks for",
        "run genesis again";
    GenesisGeneration "genesis-generation" "the answer is of another generation than the bundle asks for",
        "run genesis again";
    GenesisCustodians "genesis-custodians" "the answer has not one share for each custodian",
        "do not use this answer";
    GenesisWrapped "genesis-wrapped" "the answer carries an old root where there is none, or lacks it",
        "do not use this answer";
}

impl From<QuoteError> for Refusal {
    fn from(error: QuoteError) -> Self {
        let sentence = error.to_string();
        match error {
            QuoteError::Truncated
            | QuoteError::Magic
            | QuoteError::Type(_)
            | QuoteError::SignatureFormat => Self::new(Reason::QuoteMalformed, "a quote", sentence),
            QuoteError::TrailingBytes => {
                Self::new(Reason::QuoteTrailingBytes, "nothing after the quote", sentence)
            }
            QuoteError::Signer => {
                Self::new(Reason::QuoteSigner, "the attestation key's qualified name", sentence)
            }
            QuoteError::ExtraData { expected, found } => {
                Self::new(Reason::QuoteExtraData, expected, found)
            }
            QuoteError::Selection { found } => {
                Self::new(Reason::QuoteSelection, "00000001000b03ffff00", found)
            }
            QuoteError::Pcrs { expected, found } => Self::new(Reason::QuotePcrs, expected, found),
            QuoteError::Signature => {
                Self::new(Reason::QuoteSignature, "a signature of the attestation key", sentence)
            }
        }
    }
}

impl From<EventLogError> for Refusal {
    fn from(error: EventLogError) -> Self {
        let reason = match error {
            EventLogError::NoSha256 => Reason::EventLogNoSha256,
            _ => Reason::EventLogMalformed,
        };
        Self::new(reason, "a crypto-agile event log with sha256 digests", error)
    }
}

impl From<FirmwareError> for Refusal {
    fn from(error: FirmwareError) -> Self {
        let pcr = match error {
            FirmwareError::Unexpected { pcr, .. }
            | FirmwareError::NotMeasured(pcr)
            | FirmwareError::Separator(pcr) => pcr,
            FirmwareError::Malformed | FirmwareError::Repeated(_) | FirmwareError::Missing(_) => 7,
        };
        if pcr == 4 {
            Self::new(Reason::Pcr4Malformed, "actions, one separator, applications", error)
        } else {
            let expected = "SecureBoot, PK, KEK, db and dbx, one separator, authorities of db";
            Self::new(Reason::Pcr7Malformed, expected, error)
        }
    }
}
