//! The demo: from kernel source to a decrypted value, by the commands that people would type.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    machine::Machine,
    people::CUSTODIANS,
    report::Report,
    tools,
    world::{BOOT, World},
};

/// What is encrypted.
const VALUE: &str = "alice@example.org";
/// Name of the box.
const HOST: &str = "alpha";

/// The demo in its folder.
pub struct Demo {
    world: World,
}

impl Demo {
    /// A demo that keeps everything in `folder`.
    ///
    /// # Errors
    /// The tools are not built.
    pub fn new(folder: &Path, steps: usize) -> Result<Self> {
        Ok(Self { world: World::open(folder, Report::new(steps))? })
    }

    /// Site and image: `target/demo/casemate.efi` and `manifest.json`.
    ///
    /// # Errors
    /// A command's own.
    pub fn build(&mut self) -> Result<()> {
        let world = &mut self.world;
        world.report.step("a site: operators, custodians, Secure Boot keys", "5 s");
        world.make_site()?;
        world
            .report
            .step("the image: kernel, firmware, UKI, signature", "1 min; the first time 10");
        world.make_image(&world.at(""))?;
        world.report.end();
        Ok(())
    }

    /// The story, on a machine that starts with empty firmware variables.
    ///
    /// # Errors
    /// The first thing that does not go as it should.
    pub fn play(&mut self) -> Result<Machine> {
        let world = &mut self.world;
        world.report.step("first power-on: the box enrols the site's Secure Boot keys", "40 s");
        let ek = first_boot(world, HOST)?;

        world.report.step("the box is listed: bundle 1, signed by two operators", "5 s");
        let address = world.address(HOST)?;
        list(world, HOST, &ek)?;
        world.sign_and_push(HOST)?;
        let phase = world.machine(HOST)?.serial.wait("casemate: phase", BOOT)?;
        world.report.seen(phase);

        world
            .report
            .step("genesis: the box makes a root; custodians acknowledge their shares", "5 s");
        genesis(world, HOST)?;
        let phase = world.machine(HOST)?.serial.wait("casemate: phase", BOOT)?;
        world.report.seen(phase);

        world.report.step("a value is encrypted and decrypted over mutual TLS", "1 s");
        let question = world.encrypt(HOST, VALUE)?;
        world.decrypt(HOST, &question, VALUE)?;

        world.report.step("power cut, and on again: nobody is at the keyboard", "25 s");
        world.machine(HOST)?.cut();
        world.machine(HOST)?.start()?;
        world.wait_phase(HOST)?;
        world.decrypt(HOST, &question, VALUE)?;

        world.report.step("an auditor collects the log and verifies it", "2 s");
        world.casemate(
            &["audit", "follow"],
            &[
                "--site",
                "site",
                "--host",
                HOST,
                "--address",
                &address,
                "--client",
                "people/auditor",
                "--into",
                "audit",
                "--once",
            ],
        )?;
        world.report.end();
        fs::write(world.at("decrypt.json"), question.to_string())?;
        world.take(HOST)
    }

    /// A curl line that works from another shell while the machine runs.
    #[must_use]
    pub fn curl_line(&self, machine: &Machine) -> String {
        let body = format!("@{}", self.world.at("decrypt.json").display());
        tools::shown(&self.world.curl(machine, HOST, "/v1/decrypt", &body))
    }
}

/// Powers a new machine on, with a copy of the image as its disk and empty firmware variables. Gives
/// the fingerprint that its console shows.
///
/// # Errors
/// It does not come up.
pub fn first_boot(world: &mut World, host: &str) -> Result<String> {
    let folder = world.at("machines").join(host);
    // An earlier demo may have kept its machine, or been stopped beside it.
    Machine::switch_off(&folder);
    let _ = fs::remove_dir_all(&folder);
    let disk = world.image("disk.img");
    let machine = world.place(host, &folder, &disk)?;
    machine.start()?;
    let enrolled = machine.serial.wait("casemate: enrolled PK", BOOT)?;
    let line = machine.serial.wait("casemate: ek ", BOOT)?;
    let ek = line.split("casemate: ek ").nth(1).context("a fingerprint")?.trim().to_owned();
    machine.serial.wait("casemate: ready", BOOT)?;
    world.report.seen(enrolled);
    world.report.seen(format_args!("the console shows its endorsement key: {ek}"));
    Ok(ek)
}

/// Lists the image and a box in the site's directory.
///
/// # Errors
/// A command's own.
pub fn list(world: &mut World, host: &str, ek: &str) -> Result<()> {
    let manifest = world.image("manifest.json").display().to_string();
    world.casemate(&["bundle", "add-image"], &["--site", "site", &manifest])?;
    let address = world.address(host)?;
    world.casemate(
        &["host", "add", host],
        &["--site", "site", "--address", &address, "--ek", ek, "--yes"],
    )?;
    Ok(())
}

/// The first root: made by the box, acknowledged by every custodian, named by the next bundle.
///
/// # Errors
/// A command's own.
pub fn genesis(world: &mut World, host: &str) -> Result<()> {
    let address = world.address(host)?;
    world.casemate(
        &["genesis", "run"],
        &[
            "--site",
            "site",
            "--host",
            host,
            "--address",
            &address,
            "--client",
            "people/ops",
            "-o",
            "genesis.json",
        ],
    )?;
    for custodian in CUSTODIANS {
        let identity = format!("people/{custodian}.age");
        world.casemate(
            &["share", "ack", "genesis.json"],
            &["--site", "site", "--identity", &identity, "--out", "people"],
        )?;
    }
    world.casemate(&["bundle", "new"], &["--site", "site"])?;
    world.sign_and_push(host)
}
