//! What a drill does at the machines themselves: the `hands` lines of the runbooks.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use super::Scene;
use crate::world::BOOT;

impl Scene {
    /// One act at the machine: it is powered on or off, or a disk at hand is written.
    ///
    /// # Errors
    /// An act that nobody knows, or a machine that does not come up.
    pub(super) fn hands(&mut self, act: &str) -> Result<()> {
        if act.starts_with("casemate-image ") {
            return self.type_in("hands", act).map(drop);
        }
        self.world.report.seen(format_args!("hands: {act}"));
        match act.rsplit_once(' ') {
            Some(("power on", host)) => self.power_on(host),
            Some(("power off", host)) => self.power_off(host),
            Some(("delete the Secure Boot keys of", host)) => {
                self.world.machine(host)?.delete_keys()
            }
            _ => bail!(
                "expected `power on HOST`, `power off HOST`, `delete the Secure Boot keys of HOST` or a \
                 command, found {act}"
            ),
        }
    }

    /// A machine as it was delivered: empty firmware variables, a blank disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn unpack(&mut self, name: &str) -> Result<()> {
        let _ = self.world.take(name);
        let folder = self.world.at("machines").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let image = self.world.image("disk.img");
        blank(&folder.join("disk.img"), &image)?;
        self.world.place(name, &folder, &image)?;
        Ok(())
    }

    /// On, up to the open port; what its console shows on the way is kept for the next commands.
    ///
    /// # Errors
    /// The port does not open.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        let machine = self.world.machine(name)?;
        machine.start()?;
        let mut line =
            machine.serial.wait_any(&["casemate: ek ", "casemate: enrolled PK"], BOOT)?;
        if line.contains("enrolled") {
            self.world.report.seen(&line);
            line = self.world.machine(name)?.serial.wait("casemate: ek ", BOOT)?;
        }
        self.ek = line.split("casemate: ek ").nth(1).map(|ek| ek.trim().to_owned());
        self.world.wait_phase(name)?;
        Ok(())
    }

    /// Every machine of this world is on.
    ///
    /// # Errors
    /// One does not come up.
    pub fn power_on_all(&mut self) -> Result<()> {
        for name in self.world.machines() {
            self.power_on(&name)?;
        }
        Ok(())
    }

    /// Off, as by a power cut.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn power_off(&mut self, name: &str) -> Result<()> {
        self.world.machine(name)?.cut();
        Ok(())
    }

    /// Every machine is off.
    pub fn power_off_all(&mut self) {
        for name in self.world.machines() {
            if let Ok(machine) = self.world.machine(&name) {
                machine.cut();
            }
        }
    }

    /// Its TPM is cleared: the same TPM, whose owner's things are gone. It is powered off for that,
    /// as people do it in the firmware's settings.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn clear_tpm(&mut self, name: &str) -> Result<()> {
        self.world.machine(name)?.clear_tpm()
    }

    /// Another disk, blank, in a machine that is powered off for that.
    ///
    /// # Errors
    /// The file system's.
    pub fn new_disk(&mut self, name: &str) -> Result<()> {
        let image = self.world.image("disk.img");
        let machine = self.world.machine(name)?;
        machine.cut();
        blank(&machine.path("disk.img"), &image)
    }
}

/// A blank disk of the size of `image`.
fn blank(disk: &Path, image: &Path) -> Result<()> {
    let bytes = fs::metadata(image)?.len();
    let _ = fs::remove_file(disk);
    fs::File::create(disk)?.set_len(bytes)?;
    Ok(())
}
