//! Whose machine this is: in set-up mode it gets the site's Secure Boot keys; otherwise they must be
//! there already. What the firmware measured at this start answers that at once, and PCR 7 vouches for
//! it; the firmware's variables are asked only when it does not answer, because asking is slow.

use std::{fs, io, path::Path};

use casemate_formats::{
    anchors::Anchors,
    digest::Digest,
    efi::variable::{self, Update, Variable},
    request::{
        eventlog::EventLog,
        firmware::{SecureBoot, pcr7_with_db},
    },
};

use super::{Mounted, Refusal, Stop};
use crate::{
    platform::{
        console::{Word, say},
        efi::{self, Variables},
        power,
        watchdog::Watchdog,
    },
    update::DbChange,
};

/// The TPM itself. The kernel opens it for one holder alone, so nobody else in PID 1 can send it a command,
/// and keys and sessions stay loaded between commands: the kernel's resource manager would load and save each
/// of them around every command, which was half of the boot. PID 1 flushes what it makes, and fits into the
/// three slots that every TPM has (tests run on a TPM without a resource manager).
pub(super) const TPM_DEVICE: &str = "/dev/tpm0";
/// The resource manager's device: only a TPM 2.0 has it.
const TPM_2_DEVICE: &str = "/dev/tpmrm0";
/// The firmware's event log (securityfs).
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// A TPM is there.
pub struct WithTpm {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
}

/// The firmware is not in set-up mode.
pub struct Keyed {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) measured: Measured,
}

/// What the firmware measured before PID 1.
pub(super) struct Measured {
    /// Its event log, as it gave it.
    pub(super) event_log: Vec<u8>,
    /// What PCR 7 must hold for the log to be right; `None`: the log does not say that Secure Boot is
    /// on with this site's keys.
    pub(super) pcr7: Option<Digest>,
}

impl Mounted {
    /// A machine without a TPM is told so before anything is changed on it.
    ///
    /// # Errors
    /// `no-tpm`.
    pub fn find_tpm(self) -> Result<WithTpm, Stop> {
        if !Path::new(TPM_2_DEVICE).exists() {
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
        let event_log = fs::read(EVENT_LOG).unwrap_or_default();
        let measured = Measured { pcr7: measured_pcr7(&self.anchors, &event_log), event_log };
        if measured.pcr7.is_none() {
            let variables = efi::mount().map_err(Refusal::NoFirmwareVariables)?;
            if variables.set_up_mode().map_err(Refusal::NoFirmwareVariables)? {
                say(Word::SetUp, "the firmware is in set-up mode: this site's keys are enrolled");
                enrol(&self.anchors, &variables)?;
                power::reboot("the site's keys are enrolled");
            }
        }
        Ok(Keyed { anchors: self.anchors, watchdog: self.watchdog, measured })
    }
}

/// PCR 7 as the event log has it, if that log says: Secure Boot on, PK, KEK and db this site's.
fn measured_pcr7(anchors: &Anchors, event_log: &[u8]) -> Option<Digest> {
    let log = EventLog::parse(event_log).ok()?;
    let found = SecureBoot::read(&log).ok()?;
    let site = |variable| Update::parse(update_of(anchors, variable)).ok().map(|u| u.list);
    let ours = found.enabled == [1]
        && Some(found.pk) == site(Variable::Pk)
        && Some(found.kek) == site(Variable::Kek)
        && site(Variable::Db).is_some_and(|db| variable::within(found.db, db));
    ours.then(|| log.replay()[7])
}

/// The site has a certificate that this machine's db has not: what is to be written, and the PCR 7 of
/// the starts after that. `None`: nothing is to be done.
pub(super) fn db_change(anchors: &Anchors, event_log: &[u8]) -> Option<DbChange> {
    let log = EventLog::parse(event_log).ok()?;
    let found = SecureBoot::read(&log).ok()?.db;
    let list = Update::parse(&anchors.db).ok()?.list;
    if found == list || !variable::within(found, list) {
        return None;
    }
    let pcr7 = pcr7_with_db(&log, list, None).ok()?;
    Some(DbChange { update: anchors.db.clone(), pcr7 })
}

/// What is wrong with Secure Boot at this start: nothing, off, or another site's keys. `ask` gives the
/// firmware's variables, for when its log and PCR 7 do not answer.
pub(super) fn check(
    anchors: &Anchors,
    measured: &Measured,
    pcr7: &Digest,
    ask: impl FnOnce() -> io::Result<Variables>,
) -> Vec<Refusal> {
    if measured.pcr7.as_ref() == Some(pcr7) {
        return Vec::new();
    }
    match ask() {
        Ok(variables) => check_variables(anchors, &variables),
        Err(error) => vec![Refusal::NoFirmwareVariables(error)],
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

fn check_variables(anchors: &Anchors, variables: &Variables) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match variables.secure_boot() {
        Ok(true) => {}
        Ok(false) => refusals.push(Refusal::SecureBootOff),
        Err(error) => refusals.push(Refusal::NoFirmwareVariables(error)),
    }
    for variable in Variable::ALL {
        let site = Update::parse(update_of(anchors, variable)).map(|update| update.list);
        let enrolled = variables.read(variable.name(), variable.vendor()).ok().flatten();
        let ours = match (enrolled.as_deref(), site.ok()) {
            (Some(enrolled), Some(site)) if variable == Variable::Db => {
                variable::within(enrolled, site)
            }
            (enrolled, site) => enrolled.is_some() && enrolled == site,
        };
        if !ours {
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
mod tests;
