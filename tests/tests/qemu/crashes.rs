//! Crashes: a server that hangs, an appliance that stands still, dies, panics. Each is a reboot that counts;
//! three in a row leave the root closed and the provisioning routes open; power cuts count nothing.
//!
//! The machine runs the firmware's own sources with a saboteur beside them (`faulty-init`).

use std::{path::Path, process::Command, time::Duration};

use casemate_formats::efi::partition::{ESP_A, ESP_B};
use casemate_qemu::{machine::Hardware, partition, tools};
use casemate_tests::{
    crash::Fault,
    machine::{BOOT, Box, Built, decrypt_body},
};

use crate::fixture::{PLAINTEXT, copy, fixture, fresh};

/// What the watchdogs are given: 20 s for the server, 30 s for the hardware, beside other work.
const WATCHDOGS: Duration = Duration::from_secs(240);

#[test]
fn hang_stop_and_panic_are_counted_and_the_third_leaves_the_root_closed() {
    let mut machine = faulty("crashes", Hardware::default());

    // The threads that answer hang: the watchdog's thread notices, and ends it like a panic.
    start(&mut machine, Some(Fault::Hang), "");
    wait(&mut machine, "casemate: watchdog the server has not got on", WATCHDOGS);
    wait(&mut machine, "casemate: panic", BOOT);
    wait(&mut machine, "casemate: reboot after a panic", BOOT);
    wait(&mut machine, "casemate: crash 1, by a panic", BOOT);

    // Everything stands still, nobody is left to notice: the hardware resets the machine. (The power cut
    // before it has counted nothing.)
    start(&mut machine, Some(Fault::Stop), "1, by a panic");
    wait(&mut machine, "casemate: crash 2, by the watchdog", WATCHDOGS);

    start(&mut machine, Some(Fault::Panic), "2, by the watchdog");
    wait(&mut machine, "casemate: reboot after a panic", BOOT);
    wait(&mut machine, "casemate: crash 3, by a panic", BOOT);
    wait(&mut machine, "casemate: phase locked (crash-loop)", BOOT);
    wait(&mut machine, "casemate: ready", BOOT);

    // Nothing is decrypted; a request is answered and a bundle is taken.
    let client = machine.remote.believer("web").unwrap();
    let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).unwrap();
    assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "not-operational"));
    machine.remote.attest().expect("a request");
    let mut bundle = machine.remote.bundle.clone().unwrap();
    bundle.site.seq += 1;
    machine.remote.accept(bundle).expect("a bundle");
}

#[test]
fn an_appliance_that_is_killed_is_a_kernel_panic_that_is_counted_and_the_old_image_serves() {
    let mut machine = faulty("killed", Hardware::default());
    start(&mut machine, Some(Fault::Kill), "");
    wait(&mut machine, "casemate: panic the appliance was ended by SIGKILL", BOOT);
    // The kernel has panicked: the hardware resets the machine.
    wait(&mut machine, "casemate: crash 1, by the watchdog", WATCHDOGS);
    machine.machine.cut();
    let built = &fixture().built;
    put(&machine, built);
    machine.power_cycle().expect("the old image");
    assert!(machine.machine.serial.text().contains("casemate: crash 1, by the watchdog"));
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
}

/// A copy of the fixture's machine, off, with an image that has a saboteur, listed beside the fixture's.
pub(crate) fn faulty(name: &str, hardware: Hardware) -> Box {
    let mut machine = copy(name, hardware);
    let folder = fresh(&format!("{name}-image"));
    std::fs::create_dir_all(&folder).unwrap();
    let init = folder.join("init");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&init).arg(Path::new(env!("CARGO_BIN_EXE_faulty-init")));
    tools::output(&mut strip).unwrap();
    let built = Built::with_init(&machine.remote.site, &folder, Some(&init)).expect("an image");
    machine.power_cycle().expect("Operational");
    let mut bundle = machine.remote.bundle.clone().unwrap();
    bundle.site.seq += 1;
    let image = built.manifest.image().expect("signed");
    assert!(bundle.images.push(image.clone()).is_ok());
    machine.remote.accept(bundle).expect("a bundle with both images");
    machine.machine.cut();
    put(&machine, &built);
    machine.remote.image = image;
    machine
}

fn put(machine: &Box, built: &Built) {
    for esp in [ESP_A.name, ESP_B.name] {
        partition::replace(&machine.machine.path("disk.img"), esp, &built.disk()).unwrap();
    }
}

/// Cuts the power and boots to where it serves, with this fault to come; `crash`: what the console says of
/// crashes before.
fn start(machine: &mut Box, fault: Option<Fault>, crash: &str) {
    machine.machine.cut();
    Fault::write(fault, &machine.machine.path("disk.img")).unwrap();
    machine.machine.start().unwrap();
    wait(machine, "casemate: phase operational", BOOT);
    let text = machine.machine.serial.text();
    let said = text.split("casemate: crash ").nth(1).and_then(|rest| rest.lines().next());
    assert_eq!(said.unwrap_or_default(), crash, "{text}");
}

fn wait(machine: &mut Box, line: &str, limit: Duration) {
    machine.machine.serial.wait(line, limit).unwrap();
}
