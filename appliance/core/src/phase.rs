//! The phases of a boot and the reasons for not being open.

use core::fmt;

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
    /// The stable name, as console, status and runbooks give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoot => "no-root",
            Self::NotListed => "not-listed",
            Self::NoLiveSlot => "no-live-slot",
            Self::DoesNotOpen => "does-not-open",
            Self::ForeignBlob => "foreign-blob",
            Self::RootChain => "root-chain",
            Self::CrashLoop => "crash-loop",
            Self::NotSealed => "not-sealed",
            Self::Retired => "retired",
        }
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
