//! Whose machine this is: in set-up mode it gets the site's Secure Boot keys; otherwise they must be
//! there already.

use std::path::Path;

use casemate_formats::{
    anchors::Anchors,
    efi::variable::{self, Update, Variable},
};

use super::{Mounted, Refusal, Stop};
use crate::platform::{
    console::{Word, say},
    efi::{self, Variables},
    power,
    watchdog::Watchdog,
};

/// The TPM's device with the kernel's resource manager: only a TPM 2.0 has it.
pub(super) const TPM_DEVICE: &str = "/dev/tpmrm0";

/// A TPM is there.
pub struct WithTpm {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
}

/// The firmware is not in set-up mode.
pub struct Keyed {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) variables: Variables,
}

impl Mounted {
    /// A machine without a TPM is told so before anything is changed on it.
    ///
    /// # Errors
    /// `no-tpm`.
    pub fn find_tpm(self) -> Result<WithTpm, Stop> {
        if !Path::new(TPM_DEVICE).exists() {
            return Err(Refusal::NoTpm.into());
        }
        Ok(WithTpm { anchors: self.anchors, watchdog: self.watchdog })
    }
}

impl WithTpm {
    /// In set-up mode: writes the site's db, KEK and PK, says so, reboots; does nothing else.
    ///
    /// # Errors
    /// `no-firmware-variables`, `enrolment-failed`.
    pub fn enrol_in_set_up_mode(self) -> Result<Keyed, Stop> {
        let variables = Variables::new(Path::new(efi::EFIVARFS));
        if variables.set_up_mode().map_err(Refusal::NoFirmwareVariables)? {
            say(Word::SetUp, "the firmware is in set-up mode: this site's keys are enrolled");
            enrol(&self.anchors, &variables)?;
            power::reboot("the site's keys are enrolled");
        }
        Ok(Keyed { anchors: self.anchors, watchdog: self.watchdog, variables })
    }
}

/// Writing is idempotent, so that a reset in between heals: the next boot is in set-up mode again, or
/// all three are written (PK, which ends set-up mode, is the last).
fn enrol(anchors: &Anchors, variables: &Variables) -> Result<(), Refusal> {
    for variable in Variable::ALL {
        let update = update_of(anchors, variable);
        let failed = |cause: String| Refusal::EnrolmentFailed { variable: variable.name(), cause };
        let before = variables.read(variable.name(), variable.vendor());
        let list = Update::parse(update).map_err(|e| failed(e.to_string()))?.list;
        let note = match before.map_err(|e| failed(e.to_string()))? {
            None => "written",
            Some(content) if content == list => "written again",
            Some(_) => "written over foreign keys",
        };
        variables
            .write(variable.name(), variable.vendor(), variable::ATTRIBUTES, update)
            .map_err(|e| failed(e.to_string()))?;
        say(Word::Enrolled, format_args!("{}, {note}", variable.name()));
    }
    // A reboot into set-up mode would be a loop.
    match variables.set_up_mode() {
        Ok(false) => Ok(()),
        _ => Err(Refusal::EnrolmentFailed {
            variable: Variable::Pk.name(),
            cause: "the firmware stays in set-up mode".to_owned(),
        }),
    }
}

/// What is wrong with the firmware's Secure Boot: nothing, off, or another site's keys.
pub(super) fn check(anchors: &Anchors, variables: &Variables) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match variables.secure_boot() {
        Ok(true) => {}
        Ok(false) => refusals.push(Refusal::SecureBootOff),
        Err(error) => refusals.push(Refusal::NoFirmwareVariables(error)),
    }
    for variable in Variable::ALL {
        let site = Update::parse(update_of(anchors, variable)).map(|update| update.list);
        let enrolled = variables.read(variable.name(), variable.vendor()).ok().flatten();
        if enrolled.as_deref() != site.ok() {
            refusals.push(Refusal::ForeignKeys(variable.name()));
        }
    }
    refusals
}

const fn update_of(anchors: &Anchors, variable: Variable) -> &[u8] {
    match variable {
        Variable::Db => anchors.db.as_slice(),
        Variable::Kek => anchors.kek.as_slice(),
        Variable::Pk => anchors.pk.as_slice(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_formats::{
        bundle::body::Label,
        efi::variable::{GLOBAL, OWNER, list},
    };

    use super::*;

    /// A signed update as far as its form goes: time, header with an empty signature, content.
    fn update(certificate: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 16];
        out.extend(24_u32.to_le_bytes());
        out.extend([0x00, 0x02, 0xf1, 0x0e]);
        out.extend(b"\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7");
        out.extend(list(&OWNER, &[certificate]));
        out
    }

    fn anchors() -> Anchors {
        let label = Label::parse("site").expect("a name");
        let (pk, kek, db) = (update(b"pk"), update(b"kek"), update(b"db"));
        Anchors { namespace: label, threshold: 1, signers: heapless::Vec::new(), pk, kek, db }
    }

    /// A firmware in a folder: it stores what it is given, and its flags do not move by themselves.
    fn firmware(set_up_mode: u8, secure_boot: u8) -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().expect("a folder");
        let variables = Variables::new(folder.path());
        variables.write("SetupMode", GLOBAL, 6, &[set_up_mode]).expect("written");
        variables.write("SecureBoot", GLOBAL, 6, &[secure_boot]).expect("written");
        (folder, variables)
    }

    fn put(variables: &Variables, variable: Variable, content: &[u8]) {
        variables.write(variable.name(), variable.vendor(), 0x27, content).expect("written");
    }

    fn names(refusals: &[Refusal]) -> Vec<&'static str> {
        refusals.iter().map(Refusal::name).collect()
    }

    #[test]
    fn the_three_updates_are_written_whole_over_whatever_is_there() {
        let (_folder, variables) = firmware(0, 0);
        put(&variables, Variable::Db, b"somebody else's");
        enrol(&anchors(), &variables).expect("enrolled");
        for variable in Variable::ALL {
            let written = variables.read(variable.name(), variable.vendor()).expect("read");
            assert!(written.expect("there").starts_with(update_of(&anchors(), variable)));
        }
    }

    #[test]
    fn a_firmware_that_stays_in_set_up_mode_stops_the_boot_and_does_not_loop() {
        let (_folder, variables) = firmware(1, 0);
        let refusal = enrol(&anchors(), &variables).expect_err("refused");
        assert_eq!(refusal.name(), "enrolment-failed");
    }

    #[test]
    fn exactly_the_sites_keys_with_secure_boot_on_are_right() {
        let (_folder, variables) = firmware(0, 1);
        let anchors = anchors();
        for variable in Variable::ALL {
            let list = Update::parse(update_of(&anchors, variable)).expect("an update").list;
            put(&variables, variable, list);
        }
        assert!(check(&anchors, &variables).is_empty());
        put(&variables, Variable::Kek, &list(&OWNER, &[b"another"]));
        assert_eq!(names(&check(&anchors, &variables)), ["foreign-keys"]);
        variables.write("SecureBoot", GLOBAL, 6, &[0]).expect("written");
        assert_eq!(names(&check(&anchors, &variables)), ["secure-boot-off", "foreign-keys"]);
    }

    #[test]
    fn a_firmware_without_keys_or_variables_is_not_the_sites() {
        let (_folder, variables) = firmware(0, 1);
        assert_eq!(names(&check(&anchors(), &variables)), ["foreign-keys"; 3]);
        let nothing = Variables::new(Path::new("/nonexistent"));
        assert_eq!(names(&check(&anchors(), &nothing))[0], "no-firmware-variables");
    }
}
