//! Disks as bad as they are: slow ones, failing ones, and one whose cache is torn when the power goes.

use std::time::{Duration, Instant};

use casemate_qemu::{
    faulty::Faults,
    machine::{Disk, Hardware},
    torn::Dice,
};
use casemate_tests::machine::{BOOT, Box, decrypt_body};

use crate::fixture::{PLAINTEXT, copy, fixture};

fn faulty(name: &str) -> Box {
    let mut machine = copy(name, Hardware { disk: Disk::Faulty, ..Hardware::default() });
    machine.power_cycle().expect("Operational");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    machine
}

fn misbehave(machine: &Box, faults: Faults) {
    machine.machine.disk().expect("a disk of ours").misbehave(faults);
}

#[test]
fn a_disk_that_takes_200_ms_for_a_write_boots_and_serves_and_is_no_hang() {
    let mut machine = faulty("slow");
    misbehave(&machine, Faults { delay: Duration::from_millis(200), ..Faults::default() });
    for _ in 0..5 {
        assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    }
    machine.machine.reset().expect("the reset button");
    machine.machine.serial.wait("casemate: phase operational", BOOT).expect("Operational");
    machine.wait_ready(Instant::now()).expect("ready");
    // Longer than the hardware waits for a watchdog that is not fed.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(40) {
        assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    }
    let console = machine.machine.serial.text();
    for word in ["has not got on", "casemate: crash"] {
        assert!(!console.contains(word), "{console}");
    }
}

#[test]
fn io_errors_give_503_and_when_they_end_it_serves_without_a_reboot() {
    let mut machine = faulty("failing");
    let client = machine.remote.client("web").expect("a client");
    misbehave(&machine, Faults { writes_fail: true, ..Faults::default() });
    for _ in 0..3 {
        let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).expect("answers");
        assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "audit-unavailable"));
    }
    misbehave(&machine, Faults::default());
    machine.wait_ready(Instant::now()).expect("ready again");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    machine.power_cycle().expect("Operational");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
}

#[test]
fn power_cuts_that_tear_the_disks_cache_need_no_hands() {
    let mut machine = faulty("torn");
    let mut dice = Dice::new(1);
    for instant in [0, 700] {
        std::thread::scope(|scope| {
            let (token, machine) = (&fixture().token, &machine);
            scope.spawn(move || while machine.decrypt(token).is_ok() {});
            std::thread::sleep(Duration::from_millis(instant));
            machine.machine.disk().expect("a disk of ours").cut(&mut dice).expect("a cut");
        });
        machine.machine.cut();
        machine.power_cycle().expect("Operational without hands");
        assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    }
}
