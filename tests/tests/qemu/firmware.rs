//! Firmware and image changed: Secure Boot off, other keys, other signatures, files beside the UKI.

use std::{fs, process::Command};

use casemate_formats::efi::partition::{ESP_A, ESP_B};
use casemate_qemu::{
    firmware::{self, Variables},
    machine::{Hardware, Machine},
    partition,
    tools::{self, Tools},
    varstore::VarStore,
};
use casemate_tests::machine::{BOOT, Box};

use crate::fixture::{copy, fixture, fresh};

/// Where the firmware looks for an image when it has no entry.
const UKI: &str = "EFI/BOOT/BOOTX64.EFI";

#[test]
fn secure_boot_switched_off_is_refused() {
    let mut machine = copy("secure-boot-off", Hardware::default());
    let file = machine.machine.path("vars.fd");
    let mut variables = VarStore::read(&file).unwrap();
    variables.set("SecureBootEnable", &[0]).expect("OVMF's switch");
    variables.write(&file).unwrap();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: refused: secure-boot-off", BOOT).unwrap();
}

#[test]
fn with_another_sites_keys_enrolled_pid_1_never_starts() {
    let mut machine = copy("foreign-keys", Hardware::default());
    firmware::create_variables(Variables::Foreign, &machine.machine.path("vars.fd")).unwrap();
    assert_never_starts(&mut machine.machine);
}

#[test]
fn a_uki_signed_by_another_db_key_never_starts() {
    let mut machine = copy("foreign-db", Hardware::default());
    let image = fresh("foreign-db-image");
    let built = &fixture().built.folder;
    tools::output(Command::new("cp").arg("-a").arg(built).arg(&image)).unwrap();
    let at = |name: &str| image.join(name);
    let mut key = Command::new("openssl");
    key.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout"]);
    tools::output(key.arg(at("db.key")).arg("-out").arg(at("db.crt"))).unwrap();
    let mut sign = Tools::find().unwrap().image();
    sign.arg("sign").arg("--dir").arg(&image).arg("--key").arg(at("db.key"));
    tools::output(sign.arg("--certificate").arg(at("db.crt"))).unwrap();
    for esp in [ESP_A.name, ESP_B.name] {
        partition::put(&machine.machine.path("disk.img"), esp, &at("casemate.efi"), UKI).unwrap();
    }
    assert_never_starts(&mut machine.machine);
}

#[test]
fn a_uki_whose_initramfs_differs_by_one_byte_never_starts() {
    let mut machine = copy("initramfs", Hardware::default());
    let mut uki = fs::read(fixture().built.folder.join("casemate.efi")).unwrap();
    // zstd's magic number opens the initramfs.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    let start = uki.windows(4).rposition(|bytes| bytes == zstd).expect("an initramfs");
    uki[start + 1000] ^= 1;
    let changed = machine.machine.path("changed.efi");
    fs::write(&changed, uki).unwrap();
    for esp in [ESP_A.name, ESP_B.name] {
        partition::put(&machine.machine.path("disk.img"), esp, &changed, UKI).unwrap();
    }
    assert_never_starts(&mut machine.machine);
}

#[test]
fn set_up_mode_overwrites_foreign_variables_and_says_so() {
    let folder = fresh("set-up-foreign");
    let mut machine =
        Machine::create(&folder, &fixture().built.disk(), Hardware::default()).unwrap();
    let file = machine.path("vars.fd");
    firmware::create_variables(Variables::Foreign, &file).unwrap();
    let mut variables = VarStore::read(&file).unwrap();
    variables.delete("PK").expect("a platform key");
    variables.write(&file).unwrap();
    machine.start().unwrap();
    machine.serial.wait("casemate: enrolled PK", BOOT).unwrap();
    let text = machine.serial.text();
    for variable in ["db", "KEK"] {
        let line = format!("casemate: enrolled {variable}, written over foreign keys");
        assert!(text.contains(&line), "no {line:?} in\n{text}");
    }
    machine.serial.wait("casemate: phase unprovisioned", BOOT).unwrap();
}

#[test]
fn a_credential_beside_the_uki_is_refused() {
    let mut machine = copy("credential", Hardware::default());
    let credential = machine.machine.path("x.cred");
    fs::write(&credential, b"a command line by another door").unwrap();
    for esp in [ESP_A.name, ESP_B.name] {
        let to = format!("{UKI}.extra.d/x.cred");
        partition::put(&machine.machine.path("disk.img"), esp, &credential, &to).unwrap();
    }
    assert_refused(&mut machine, &["pcr12-not-zero", "sidecars"]);
}

/// The boot stops by one of these names, and opens no port.
pub fn assert_refused(machine: &mut Box, names: &[&str]) {
    machine.machine.start().unwrap();
    let line = machine.machine.serial.wait("casemate: refused:", BOOT).unwrap();
    assert!(names.iter().any(|name| line.ends_with(name)), "{line}: expected {names:?}");
    // Believing anybody: a box that did open its port would answer.
    assert!(machine.remote.believer("web").and_then(|client| client.get("/livez")).is_err());
}

fn assert_never_starts(machine: &mut Machine) {
    machine.start().unwrap();
    machine.serial.wait_any(&["Access Denied", "Security Violation"], BOOT).unwrap();
    // Time enough for a kernel that was started after all.
    std::thread::sleep(std::time::Duration::from_secs(10));
    let text = machine.serial.text();
    assert!(!text.contains("casemate:"), "PID 1 started:\n{text}");
}
