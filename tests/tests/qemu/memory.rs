//! What stands in a machine's memory after a restart: all of it, as seen from outside.

use std::{fs, io::BufRead as _};

use casemate_qemu::{child::wait_until, machine::Hardware};
use casemate_tests::{
    crash::Fault,
    machine::{BOOT, Box},
};
use serde_json::{Value, json};

use crate::{crashes::faulty, fixture::fixture};

/// Enough for the appliance, and soon read.
const MEMORY_MIB: u32 = 160;

#[test]
fn a_panic_leaves_no_root_in_memory_and_the_reset_button_does() {
    let hardware = Hardware { memory: MEMORY_MIB, ..Hardware::default() };
    let mut machine = faulty("wiped", hardware);
    Fault::write(Some(Fault::Panic), &machine.machine.path("disk.img")).unwrap();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    monitor(&machine, "stop", &json!({}));
    assert!(roots(&machine) > 0, "while it is open it stands in memory");
    // Nobody has wiped anything here (the threat model says so), and the machine stands still before the
    // firmware's first instruction: what is not found below was not there.
    machine.machine.serial.skip();
    monitor(&machine, "system_reset", &json!({}));
    assert!(roots(&machine) > 0, "after the reset button it still does");

    // From now on the machine stands still at the instant at which it would start again.
    monitor(&machine, "set-action", &json!({ "reboot": "shutdown", "shutdown": "pause" }));
    monitor(&machine, "cont", &json!({}));
    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    machine.machine.serial.wait("casemate: reboot after a panic", BOOT).unwrap();
    let stands_still = || monitor(&machine, "query-status", &json!({}))["status"] == "shutdown";
    wait_until("the restart", BOOT, stands_still).unwrap();
    assert_eq!(roots(&machine), 0, "after a panic it does not");
}

fn monitor(machine: &Box, command: &str, arguments: &Value) -> Value {
    machine.machine.monitor().unwrap().run(command, arguments).unwrap()
}

/// How often the root stands in the machine's memory; it stands still.
fn roots(machine: &Box) -> usize {
    let root = fixture().machine.remote.site.root().expect("a genesis");
    let file = std::env::current_dir().unwrap().join(machine.machine.path("memory"));
    let bytes = u64::from(MEMORY_MIB) << 20;
    monitor(machine, "pmemsave", &json!({ "val": 0, "size": bytes, "filename": file }));
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
