//! Every reason for which a boot stops, with its stable name, what was found, and what to do.

use crate::platform::disk::DiskError;

/// A boot that stops. [`std::fmt::Display`] says what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A file system of the kernel's cannot be mounted.
    #[error("{path} cannot be mounted: {cause}")]
    Mount {
        /// Where.
        path: &'static str,
        /// The kernel's word.
        cause: std::io::Error,
    },
    /// `/anchors` is missing or damaged.
    #[error("the image's anchors cannot be read: {0}")]
    Anchors(String),
    /// No TPM 2.0.
    #[error("no TPM 2.0 (there is no /dev/tpmrm0)")]
    NoTpm,
    /// The TPM has no complete sha256 bank.
    #[error("the TPM's sha256 bank is off or has not all 24 PCRs")]
    NoSha256Bank,
    /// The TPM's owner or endorsement authorisation is somebody else's.
    #[error("a hierarchy of the TPM has an authorisation that is not Casemate's")]
    ForeignTpmOwner,
    /// The TPM answers with an error.
    #[error("the TPM failed at {step}: {cause}")]
    TpmFailed {
        /// What was being done.
        step: &'static str,
        /// The TPM's word.
        cause: crate::tpm::TpmError,
    },
    /// Not started by UEFI firmware with variables.
    #[error("the firmware's variables cannot be read: {0}")]
    NoFirmwareVariables(std::io::Error),
    /// The site's keys could not be written in set-up mode.
    #[error("the firmware did not take {variable}: {cause}")]
    EnrolmentFailed {
        /// Which variable.
        variable: &'static str,
        /// The firmware's word.
        cause: String,
    },
    /// Secure Boot is off.
    #[error("the firmware did not check what it started: Secure Boot is off")]
    SecureBootOff,
    /// The firmware holds keys that are not this site's.
    #[error("{0} of the firmware is not this site's")]
    ForeignKeys(&'static str),
    /// No randomness.
    #[error("the kernel gives no randomness: {0}")]
    NoRandomness(String),
    /// The kernel is not locked down.
    #[error("lockdown of the kernel is `{0}`, not confidentiality")]
    NotLockedDown(String),
    /// PCR 11 holds nothing: the image was not started by its own boot stub.
    #[error("PCR 11 is all {0}: the boot stub did not measure the image")]
    Pcr11NotMeasured(&'static str),
    /// PCR 12 is extended: a changed command line, or credentials beside the image.
    #[error("PCR 12 is extended: something changed the command line or put credentials there")]
    Pcr12NotZero,
    /// PCR 13 is extended: system extensions beside the image.
    #[error("PCR 13 is extended: something put system extensions beside the image")]
    Pcr13NotZero,
    /// The boot stub found files beside the image.
    #[error("/.extra is there: files beside the image were handed over to it")]
    Sidecars,
    /// PCR 11 changed between looking at it and extending it.
    #[error("PCR 11 is not what its extension must give")]
    Pcr11Changed,
    /// No `state` partition, or too many.
    #[error("{0}")]
    NoDisk(#[from] DiskError),
    /// The `state` partition cannot be used.
    #[error("{0}")]
    State(#[from] crate::state::StateError),
    /// The network's thread cannot be started.
    #[error("the network cannot be started: {0}")]
    Network(std::io::Error),
    /// The port cannot be opened, or the rights cannot be dropped before it is.
    #[error("the port cannot be opened: {0}")]
    Port(String),
}

impl Refusal {
    /// The name that runbooks and tests use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mount { .. } => "mount",
            Self::Anchors(_) => "anchors",
            Self::NoTpm => "no-tpm",
            Self::NoSha256Bank => "no-sha256-bank",
            Self::ForeignTpmOwner => "foreign-tpm-owner",
            Self::TpmFailed { .. } => "tpm-failed",
            Self::NoFirmwareVariables(_) => "no-firmware-variables",
            Self::EnrolmentFailed { .. } => "enrolment-failed",
            Self::SecureBootOff => "secure-boot-off",
            Self::ForeignKeys(_) => "foreign-keys",
            Self::NoRandomness(_) => "no-randomness",
            Self::NotLockedDown(_) => "not-locked-down",
            Self::Pcr11NotMeasured(_) => "pcr11-not-measured",
            Self::Pcr12NotZero => "pcr12-not-zero",
            Self::Pcr13NotZero => "pcr13-not-zero",
            Self::Sidecars => "sidecars",
            Self::Pcr11Changed => "pcr11-changed",
            Self::NoDisk(_) => "no-disk",
            Self::State(_) => "state",
            Self::Network(_) => "network",
            Self::Port(_) => "port",
        }
    }

    /// What an operator does about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Mount { .. } | Self::Anchors(_) | Self::Port(_) => "flash the image anew",
            Self::NoTpm => "switch the TPM 2.0 on in the firmware's settings, or fit one",
            Self::NoSha256Bank => "switch the TPM's SHA-256 bank on in the firmware's settings",
            Self::ForeignTpmOwner => "clear the TPM in the firmware's settings",
            Self::TpmFailed { .. } => "switch the machine off and on; then look at the TPM",
            Self::NoFirmwareVariables(_) => "start the image by UEFI, not by a legacy BIOS",
            Self::EnrolmentFailed { .. } => {
                "delete all Secure Boot keys in the firmware's settings, and start again"
            }
            Self::SecureBootOff => "switch Secure Boot on in the firmware's settings",
            Self::ForeignKeys(_) => {
                "if this machine is to be this site's: delete its Secure Boot keys (set-up mode)"
            }
            Self::NoRandomness(_) => "switch the machine off and on",
            Self::NotLockedDown(_) => "build the image anew: its kernel is not Casemate's",
            Self::Pcr11NotMeasured(_) | Self::Pcr11Changed => {
                "start the image as it was built, with nothing in between"
            }
            Self::Pcr12NotZero | Self::Pcr13NotZero | Self::Sidecars => {
                "find out who put files on the boot partition or changed the start; flash it anew"
            }
            Self::NoDisk(_) => "connect the appliance's one disk, or flash it anew",
            Self::State(_) => "look at the disk; when it is lost, flash a new one and recover",
            Self::Network(_) => "switch the machine off and on",
        }
    }
}

#[cfg(test)]
mod tests {
    /// Every name of [`super::Refusal::name`], out of this file: an enum cannot list its variants.
    fn names() -> Vec<&'static str> {
        let source = include_str!("refusal.rs");
        let body = source.split("const fn name(").nth(1).expect("the function");
        let body = body.split("const fn next(").next().expect("its end");
        body.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next()).collect()
    }

    #[test]
    fn the_runbook_says_what_to_do_about_every_refusal() {
        let runbook = include_str!("../../../provisioning/RUNBOOKS.md");
        assert!(names().len() > 15, "{:?}", names());
        for name in names() {
            assert!(runbook.contains(&format!("`{name}`")), "{name} is not in the runbook");
        }
    }
}
