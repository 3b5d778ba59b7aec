//! What a drill does at the machines themselves: the `hands` lines of the runbooks.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::Scene;
use crate::{machine::Hardware, world::BOOT};

impl Scene {
    /// One act of the small vocabulary that the runbooks are written in; the last word is the machine.
    ///
    /// # Errors
    /// An act that nobody knows, or a machine that does not come up.
    pub(super) fn hands(&mut self, act: &str) -> Result<()> {
        self.world.report.seen(format_args!("hands: {act}"));
        let (act, name) = act.rsplit_once(' ').context("expected an act and a machine")?;
        match act {
            "unpack" => self.unpack(name)?,
            "power on" => self.power_on(name)?,
            "power off" => self.world.machine(name)?.cut(),
            "a new disk for" => blank(&self.disk(name)?, &self.world.image("disk.img"))?,
            "clear the TPM of" => self.clear_tpm(name)?,
            "a new board for" => self.new_board(name)?,
            other => bail!("{other}: expected an act that drills know"),
        }
        self.at = Some(name.to_owned());
        Ok(())
    }

    /// A machine as it was delivered: empty firmware variables, a blank disk.
    fn unpack(&mut self, name: &str) -> Result<()> {
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
        self.at = Some(name.to_owned());
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
    fn clear_tpm(&mut self, name: &str) -> Result<()> {
        let machine = self.world.machine(name)?;
        machine.cut();
        machine.clear_tpm()
    }

    /// Another board: another TPM, empty firmware variables; the disk stays.
    fn new_board(&mut self, name: &str) -> Result<()> {
        let machine = self.world.machine(name)?;
        machine.cut();
        for part in ["tpm", "tpm-ca"] {
            fs::remove_dir_all(machine.path(part))?;
        }
        fs::remove_file(machine.path("vars.fd"))?;
        let folder = machine.path("");
        let disk = machine.path("disk.img");
        let machine = crate::machine::Machine::create(&folder, &disk, Hardware::default())?;
        let _ = self.world.take(name);
        self.world.put(name, machine);
        Ok(())
    }

    fn disk(&mut self, name: &str) -> Result<std::path::PathBuf> {
        let machine = self.world.machine(name)?;
        machine.cut();
        Ok(machine.path("disk.img"))
    }
}

/// A blank disk of the size of `image`.
fn blank(disk: &Path, image: &Path) -> Result<()> {
    let bytes = fs::metadata(image)?.len();
    let _ = fs::remove_file(disk);
    fs::File::create(disk)?.set_len(bytes)?;
    Ok(())
}
