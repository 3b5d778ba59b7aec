//! What stands in a machine's memory after a restart: all of it, as seen from outside.

use std::{fs, io::BufRead as _};

use casemate_qemu::machine::Hardware;
use casemate_tests::{
    crash::Fault,
    machine::{BOOT, Box},
};
use serde_json::json;

use crate::{crashes::faulty, fixture::fixture};

/// Enough for the appliance, and soon read.
const MEMORY_MIB: u32 = 160;
/// The first word of the firmware's console after a restart: its own memory is in use by then, the kernel's
/// and the appliance's is not yet.
const FIRMWARE: &str = "BdsDxe: loading";

#[test]
fn a_panic_leaves_no_root_in_memory_and_the_reset_button_does() {
    let hardware = Hardware { memory: MEMORY_MIB, ..Hardware::default() };
    let mut machine = faulty("wiped", hardware);
    Fault::write(Some(Fault::Panic), &machine.machine.path("disk.img")).unwrap();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    assert!(roots(&machine) > 0, "while it is open it stands in memory");
    // Nobody has wiped anything here (the threat model says so), and the firmware has not either: what is
    // not found below was not there.
    machine.machine.reset().unwrap();
    machine.machine.serial.wait(FIRMWARE, BOOT).unwrap();
    assert!(roots(&machine) > 0, "after the reset button it still does");

    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    machine.machine.serial.wait("casemate: reboot after a panic", BOOT).unwrap();
    machine.machine.serial.wait(FIRMWARE, BOOT).unwrap();
    assert_eq!(roots(&machine), 0, "after a panic it does not");
}

/// How often the root stands in the machine's memory.
fn roots(machine: &Box) -> usize {
    let root = fixture().machine.remote.site.root().expect("a genesis");
    let file = std::env::current_dir().unwrap().join(machine.machine.path("memory"));
    let mut monitor = machine.machine.monitor().unwrap();
    monitor.run("stop", &json!({})).unwrap();
    let bytes = u64::from(MEMORY_MIB) << 20;
    let save = json!({ "val": 0, "size": bytes, "filename": file });
    monitor.run("pmemsave", &save).unwrap();
    monitor.run("cont", &json!({})).unwrap();
    let memory = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(memory.len() as u64, bytes);
    occurrences(&memory, root.as_slice())
}

/// By the standard library's search for a byte: a test's own loop would take minutes.
fn occurrences(memory: &[u8], wanted: &[u8]) -> usize {
    let (mut rest, mut count) = (memory, 0);
    while rest.skip_until(wanted[0]).is_ok_and(|skipped| skipped > 0) {
        count += usize::from(rest.starts_with(&wanted[1..]));
    }
    count
}
