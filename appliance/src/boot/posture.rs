//! Posture: how this machine was started. Everything that is wrong is named at once.

use std::{fs, path::Path};

use casemate_formats::{
    anchors::Anchors,
    digest::Digest,
    measure::{self, ENTER},
};

use super::{Refusal, Seeded, Stop, entropy, secure_boot};
use crate::{
    platform::{
        console::{Word, say},
        efi,
        watchdog::Watchdog,
    },
    tpm::Tpm,
};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Where systemd-stub hands over what it found beside the image.
const SIDECARS: &str = "/.extra";

/// Started as it should be.
pub struct Sound {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) tpm: Tpm,
    pub(super) event_log: Vec<u8>,
    /// PCR 7 now.
    pub(super) pcr7: Digest,
    /// PCR 11 as it will be after `enter-casemate`.
    pub(super) image: Digest,
}

impl Seeded {
    /// Looks at kernel, measurements and Secure Boot.
    ///
    /// # Errors
    /// Every refusal that applies: `not-locked-down`, `pcr11-not-measured`, `pcr12-not-zero`,
    /// `pcr13-not-zero`, `sidecars`, `secure-boot-off`, `foreign-keys`.
    pub fn check_posture(self) -> Result<Sound, Stop> {
        let pcrs = self.tpm.pcrs().map_err(|error| entropy::refusal("reading PCRs", error))?;
        let mut refusals = Vec::new();
        refusals.extend(lockdown(&fs::read_to_string(LOCKDOWN).unwrap_or_default()));
        refusals.extend(measurements(&pcrs));
        if Path::new(SIDECARS).exists() {
            refusals.push(Refusal::Sidecars);
        }
        refusals.extend(secure_boot::check(&self.anchors, &self.measured, &pcrs[7], efi::mount));
        Stop::unless_empty(refusals)?;
        let image = measure::phase(pcrs[11], ENTER);
        say(Word::Image, image.short());
        let Self { anchors, watchdog, measured, tpm } = self;
        let event_log = measured.event_log;
        Ok(Sound { anchors, watchdog, tpm, event_log, pcr7: pcrs[7], image })
    }
}

/// The file lists all modes and brackets the one in force: `none integrity [confidentiality]`.
fn lockdown(text: &str) -> Option<Refusal> {
    let mode = text.split_whitespace().find(|word| word.starts_with('['));
    match mode {
        Some("[confidentiality]") => None,
        Some(other) => Some(Refusal::NotLockedDown(other.trim_matches(['[', ']']).to_owned())),
        None => Some(Refusal::NotLockedDown("absent".to_owned())),
    }
}

fn measurements(pcrs: &[Digest; 24]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match pcrs[11] {
        Digest::ZERO => refusals.push(Refusal::Pcr11NotMeasured("zeros")),
        Digest(bytes) if bytes == [0xff; 32] => refusals.push(Refusal::Pcr11NotMeasured("ones")),
        _ => {}
    }
    if pcrs[12] != Digest::ZERO {
        refusals.push(Refusal::Pcr12NotZero);
    }
    if pcrs[13] != Digest::ZERO {
        refusals.push(Refusal::Pcr13NotZero);
    }
    refusals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(refusals: &[Refusal]) -> Vec<&'static str> {
        refusals.iter().map(Refusal::name).collect()
    }

    fn measured() -> [Digest; 24] {
        let mut pcrs = [Digest::ZERO; 24];
        pcrs[11] = Digest([7; 32]);
        pcrs
    }

    #[test]
    fn only_confidentiality_in_brackets_is_locked_down() {
        assert!(lockdown("none integrity [confidentiality]\n").is_none());
        for text in ["none [integrity] confidentiality\n", "[none] integrity confidentiality\n", ""]
        {
            assert_eq!(lockdown(text).expect("refused").name(), "not-locked-down", "{text}");
        }
    }

    #[test]
    fn each_pcr_has_its_own_refusal_and_all_are_named() {
        assert!(measurements(&measured()).is_empty());
        for (pcr, value, name) in [
            (11, Digest::ZERO, "pcr11-not-measured"),
            (11, Digest([0xff; 32]), "pcr11-not-measured"),
            (12, Digest([1; 32]), "pcr12-not-zero"),
            (13, Digest([0xff; 32]), "pcr13-not-zero"),
        ] {
            let mut pcrs = measured();
            pcrs[pcr] = value;
            assert_eq!(names(&measurements(&pcrs)), [name]);
        }
        let mut pcrs = measured();
        (pcrs[12], pcrs[13]) = (Digest([1; 32]), Digest([1; 32]));
        assert_eq!(names(&measurements(&pcrs)), ["pcr12-not-zero", "pcr13-not-zero"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_lockdown_parser_panic(text in "\\PC*") {
            let _ = lockdown(&text);
        }
    }
}
