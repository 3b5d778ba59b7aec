//! The phases of a boot and the reasons for not being open.

use core::fmt;

use casemate_formats::code::Code;

/// Where this boot stands. Leaving `Operational` is always a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No bundle.
    Unprovisioned,
    /// A bundle, no root.
    Locked(Reason),
    /// Bundle and root.
    Operational,
}

impl Phase {
    /// The word used in quotes, status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unprovisioned => "unprovisioned",
            Self::Locked(_) => "locked",
            Self::Operational => "operational",
        }
    }
}

/// Why a box with a bundle has no root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The bundle has no root yet, or none was ever sealed here.
    NoRoot,
    /// The bundle in force does not list this image or this PCR 7.
    NotListed,
    /// No slot may live: counter missing or beyond every label (cleared TPM, other TPM, older disk).
    NoLiveSlot,
    /// A blob did not load or open under this TPM.
    DoesNotOpen,
    /// What came out of a blob does not match the bundle.
    ForeignBlob,
    /// The chain of roots does not lead to every generation's fingerprint.
    RootChain,
    /// Three panics within ten minutes of boot.
    CrashLoop,
    /// This host keeps nothing (`sealed = false`).
    NotSealed,
    /// This host is retired.
    Retired,
}

impl Reason {
    /// The code that says the same, with what to do about it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::NoRoot => Code::NoRoot,
            Self::NotListed => Code::NotListed,
            Self::NoLiveSlot => Code::NoLiveSlot,
            Self::DoesNotOpen => Code::DoesNotOpen,
            Self::ForeignBlob => Code::ForeignBlob,
            Self::RootChain => Code::RootChain,
            Self::CrashLoop => Code::CrashLoop,
            Self::NotSealed => Code::NotSealed,
            Self::Retired => Code::Retired,
        }
    }

    /// The stable name, as console, status and runbooks give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.code().slug()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(reason) => write!(f, "locked ({})", reason.name()),
            other => f.write_str(other.word()),
        }
    }
}
