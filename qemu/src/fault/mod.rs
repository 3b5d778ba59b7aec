//! Power cuts of a machine that works: at a random instant, under load or while it boots, disk cache,
//! machine and TPM lose their power together. Then it boots, without hands, and an outside verifier
//! holds its log against what clients were answered.

mod load;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use casemate_formats::digest::Digest;
use serde::{Deserialize, Serialize};

use self::{load::Load, verify::Answered};
use crate::{
    drill::{Stage, Start},
    machine::{Disk, Machine},
    report::Report,
    torn::Dice,
    world::{BOOT, World},
};

/// The box.
const HOST: &str = "alpha";
/// After so many cuts the log is held against the answers, and the sums are written down.
const CHECK_EVERY: u32 = 10;
/// The load goes on for at most this long before the power goes: enough for records, bundles, ticks and
/// acknowledgements to be under way, short beside a boot.
const LOAD_MS: u64 = 3_000;
/// A cut during a boot comes at most so long after power-on.
const BOOT_MS: u64 = 14_000;
/// One of so many cuts comes during a boot.
const BOOTS: u64 = 4;

/// What a campaign came to, over all its runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Power cuts.
    pub powercuts: u32,
    /// Of those, how many during a boot.
    pub during_boots: u32,
    /// Items and bundles that clients were answered.
    pub records: u64,
    /// Of those, how many have no record.
    pub lost: u64,
    /// Boots that did not come to Operational by themselves.
    pub failed_boots: u32,
    /// Image id of the box, so that sums of different images are not added.
    pub image: String,
}

/// A campaign in its folder.
pub struct Campaign {
    folder: PathBuf,
    world: World,
    dice: Dice,
    answered: Answered,
    sums: Sums,
}

/// Where a campaign in `folder` writes its sums.
#[must_use]
pub fn sums(folder: &Path) -> PathBuf {
    folder.join("powercut.json")
}

impl Campaign {
    /// Begins one: a site, its image and a box that serves are made in `folder`; with `resume` those of
    /// an earlier run go on, and so do its sums.
    ///
    /// # Errors
    /// The box cannot be brought there, or there is nothing to resume.
    pub fn new(folder: &Path, seed: u64, resume: bool) -> Result<Self> {
        if !resume {
            let stage = Stage::new(folder)?;
            let mut scene = stage.scene(Start::One, &folder.join("world"))?;
            scene.power_off_all();
        }
        let mut world = World::open(&folder.join("world"), Report::new(0))
            .context("expected the folder of an earlier campaign; next: without --resume")?;
        let (place, disk) = (world.at("machines").join(HOST), world.image("disk.img"));
        world.place(HOST, &place, &disk)?.hardware().disk = Disk::Faulty;
        let image = world.image_id("image")?.to_string();
        let sums = match fs::read_to_string(sums(folder)) {
            Ok(text) if resume => serde_json::from_str(&text)?,
            _ => Sums { image, ..Sums::default() },
        };
        // Each run has ids of its own: the log holds those of all of them.
        let run = Digest::sha256(format!("{seed} {}", sums.powercuts).as_bytes()).to_string();
        let answered = Answered::new(&run[..8]);
        Ok(Self { folder: folder.to_owned(), world, dice: Dice::new(seed), answered, sums })
    }

    /// Cuts the power `count` times and checks. The first boot that needs hands ends it: its console
    /// stays in the folder.
    ///
    /// # Errors
    /// Something else than the box failed.
    pub fn run(&mut self, count: u32) -> Result<Sums> {
        println!(
            "\n{:>5}  {:24} {:>7} {:>9} {:>8} {:>6}",
            "cut", "when", "boot s", "answered", "records", "lost"
        );
        self.start()?;
        let mut up = self.comes_up()?;
        for cut in 1..=count {
            if !up {
                break;
            }
            let before = self.answered.count();
            let (when, since) = self.cut_once()?;
            self.sums.powercuts += 1;
            up = self.comes_up()?;
            println!(
                "{cut:5}  {when:24} {:7.1} {:9} {:8} {:6}",
                since.elapsed().as_secs_f64(),
                self.answered.count() - before,
                self.sums.records,
                self.sums.lost
            );
            if up && (cut % CHECK_EVERY == 0 || cut == count) {
                self.check()?;
            }
        }
        self.machine()?.cut();
        Ok(self.sums.clone())
    }

    fn machine(&mut self) -> Result<&mut Machine> {
        self.world.machine(HOST)
    }

    fn start(&mut self) -> Result<()> {
        self.machine()?.start()
    }

    /// Waits until it serves; `false`: it does not without hands.
    fn comes_up(&mut self) -> Result<bool> {
        let machine = self.machine()?;
        let phase = machine.serial.wait_any(&["casemate: phase", "casemate: refused"], BOOT);
        let ready = phase.and_then(|line| {
            anyhow::ensure!(line.contains("operational"), "{line}");
            machine.serial.wait("casemate: ready", BOOT)
        });
        let Err(error) = ready else { return Ok(true) };
        self.sums.failed_boots += 1;
        let number = self.sums.powercuts;
        let console = self.folder.join(format!("failed-boot-{number}.log"));
        fs::write(&console, format!("{error:#}\n{}", self.machine()?.serial.text()))?;
        println!("a boot that needs hands; its console: {}", console.display());
        self.keep_sums()?;
        Ok(false)
    }

    /// One cut of a box that has come up: what it cut, and when the power was there again.
    fn cut_once(&mut self) -> Result<(String, Instant)> {
        if self.dice.roll(BOOTS) == 0 {
            // In peace, and while it comes up again.
            self.machine()?.cut();
            self.start()?;
            let after = self.dice.roll(BOOT_MS);
            std::thread::sleep(Duration::from_millis(after));
            self.tear()?;
            self.sums.during_boots += 1;
            let since = Instant::now();
            self.start()?;
            return Ok((format!("{after} ms into a boot"), since));
        }
        let after = self.dice.roll(LOAD_MS);
        let push = self.dice.roll(3) == 0;
        let load = Load::start(&self.world, &self.answered.next_ids(), push)?;
        std::thread::sleep(Duration::from_millis(after));
        self.tear()?;
        // What is answered now was answered by the dead.
        load.finish(&mut self.answered)?;
        let since = Instant::now();
        self.start()?;
        let bundle = if push { ", a bundle" } else { "" };
        Ok((format!("{after} ms of load{bundle}"), since))
    }

    fn tear(&mut self) -> Result<()> {
        let mut dice = self.dice.clone();
        self.machine()?.cut_torn(&mut dice)?;
        self.dice = dice;
        Ok(())
    }

    /// Collects the log, verifies it, and holds it against the answers.
    fn check(&mut self) -> Result<()> {
        let lost = self.answered.check(&mut self.world, HOST)?;
        self.sums.records = self.sums.records.saturating_add(self.answered.take_checked());
        self.sums.lost += lost.len() as u64;
        if !lost.is_empty() {
            let file = self.folder.join("lost.txt");
            fs::write(&file, lost.join("\n"))?;
            println!("answered, and not in the log: {}", file.display());
        }
        self.keep_sums()
    }

    fn keep_sums(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.sums)?;
        Ok(fs::write(sums(&self.folder), text + "\n")?)
    }
}
