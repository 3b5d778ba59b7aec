//! What works: first boot, reboots without hands, little memory, and a disk that is pulled.

use casemate_qemu::machine::{Disk, Hardware};
use casemate_tests::machine::{BOOT, decrypt_body};

use crate::fixture::{PLAINTEXT, copy, fixture};

#[test]
fn first_boot_enrols_the_sites_keys_and_ends_operational_after_two_bundles() {
    let console = &fixture().first_console;
    for word in [
        "casemate: enrolled",
        "casemate: image ",
        "casemate: ek ",
        "casemate: address ",
        "casemate: phase unprovisioned",
        "casemate: phase locked (no-root)",
        "casemate: phase operational",
    ] {
        assert!(console.contains(word), "no {word:?} in\n{console}");
    }
}

#[test]
fn power_cut_and_reset_button_need_no_hands() {
    let mut machine = copy("reboot", Hardware::default());
    machine.power_cycle().expect("after a power cut");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    machine.machine.reset().expect("the reset button");
    machine.machine.serial.wait("casemate: phase operational", BOOT).expect("Operational");
    machine.wait_ready(std::time::Instant::now()).expect("ready");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
}

#[test]
fn memory_of_160_mib_suffices() {
    let mut machine = copy("memory", Hardware { memory: 160, ..Hardware::default() });
    machine.power_cycle().expect("Operational in 160 MiB");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
}

#[test]
fn a_pulled_disk_gives_503_and_never_a_plaintext() {
    let mut machine = copy("pulled", Hardware { disk: Disk::Removable, ..Hardware::default() });
    machine.power_cycle().expect("Operational");
    assert_eq!(machine.decrypt(&fixture().token).expect("decrypts"), PLAINTEXT);
    machine.machine.pull_disk();
    let client = machine.remote.client("web").expect("a client");
    for _ in 0..3 {
        let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).expect("answers");
        assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "audit-unavailable"));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!body.contains("plaintext"), "{body}");
    }
    let ready = machine.remote.nobody().unwrap().get("/readyz").expect("answers");
    assert_eq!(ready.status, 503);
}

#[test]
fn no_console_shows_a_value_or_a_token() {
    let secret = std::str::from_utf8(PLAINTEXT).unwrap();
    for text in [&fixture().first_console, &fixture().machine.machine.serial.text()] {
        assert!(!text.contains(secret) && !text.contains(&fixture().token));
        assert!(!text.contains("cm1."), "a token on the console");
    }
}
