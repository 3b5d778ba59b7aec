//! What a boot owes to an image's trial: it is noted as tried before anything can go wrong, and a boot
//! of it that does not come up leaves, so that the firmware starts the image of before.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use casemate_core::update::Boot;
use casemate_formats::{
    digest::Digest,
    efi::partition::{ESP_A, ESP_B, STATE},
    state::{Stage, TrialSector, header::TRIAL},
};

use super::{
    Left,
    storage::{DEVICES, SYSFS},
};
use crate::{
    platform::{
        console::{Word, say},
        disk, efi, power,
    },
    state::{Blocks, State, UNIT, disk::Disk},
    update::{self, Medium, Start, Updates},
};

/// How long a refusal stands on the console before an image on trial leaves.
const READING_TIME: Duration = Duration::from_secs(10);

/// Whether this boot is a trial; set once the sector was read.
static ON_TRIAL: OnceLock<bool> = OnceLock::new();

/// Reads the trial sector, and notes that the image was tried.
pub(super) fn begin(state: &State, image: Digest) -> Boot {
    let boot = update::begin(state, image);
    let _ = ON_TRIAL.set(boot == Boot::Trial);
    match boot {
        Boot::Trial => say(Word::Trial, "this image, until it has answered somebody it knows"),
        Boot::WentBack(image) => {
            say(
                Word::Trial,
                format_args!("{} did not stay: this is the image of before", image.short()),
            );
        }
        Boot::Settled | Boot::Copy => {}
    }
    boot
}

/// A boot that stops by a refusal: if it is a trial, it leaves after a while.
pub(super) fn leave_if_on_trial() {
    let on_trial = ON_TRIAL.get().copied().unwrap_or_else(consume);
    if on_trial {
        say(Word::Trial, "this image does not come up: back to the one of before in 10 s");
        thread::sleep(READING_TIME);
        power::reboot("an image on trial does not come up");
    }
}

/// The boot stopped before the disk was opened: whichever image this is, what is armed was tried.
fn consume() -> bool {
    let Ok(device) = disk::find(&STATE, Path::new(SYSFS), Path::new(DEVICES)) else { return false };
    let Ok(disk) = Disk::partition(&device) else { return false };
    let mut unit = vec![0; UNIT];
    let read = disk.read(TRIAL, &mut unit).ok().and_then(|()| TrialSector::decode(&unit));
    read.filter(|sector| sector.stage == Stage::Armed).is_some_and(|sector| {
        disk.write(TRIAL, &TrialSector::new(Stage::Tried, sector.image).encode()).is_ok()
    })
}

impl Left {
    /// The keeper of the two ESPs. `None`: they were not found, so the image cannot be changed here.
    #[must_use]
    pub fn updates(&self) -> Option<Updates> {
        let open = |partition| -> Option<Arc<dyn Blocks>> {
            let device = disk::find(partition, Path::new(SYSFS), Path::new(DEVICES)).ok()?;
            Some(Arc::new(Disk::partition(&device).ok()?))
        };
        let medium = Medium {
            esps: [open(&ESP_A)?, open(&ESP_B)?],
            state: Arc::clone(&self.state),
            variables: Box::new(efi::mount),
            restart: Box::new(|why| power::reboot(why)),
        };
        let bundle = self.life.bundle();
        let start = Start {
            boot: self.boot,
            image: self.image,
            listed: bundle.map_or_else(Vec::new, |b| b.bundle().images.iter().cloned().collect()),
            patience: update::PATIENCE,
            db: self.db.clone(),
            pcr7: self.life.host().map_or_else(Vec::new, |host| host.pcr7.to_vec()),
        };
        Updates::start(medium, start).ok()
    }
}
