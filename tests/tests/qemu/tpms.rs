//! TPMs changed: another one under the same disk, none, one without a SHA-256 bank.

use std::fs;

use casemate_qemu::{
    machine::{Hardware, Machine},
    swtpm::{Banks, Swtpm},
};
use casemate_tests::machine::{BOOT, decrypt_body};

use crate::fixture::{copy, fixture, fresh};

#[test]
fn another_tpm_under_the_same_disk_stays_locked() {
    let mut machine = copy("other-tpm", Hardware::default());
    for part in ["tpm", "tpm-ca"] {
        fs::remove_dir_all(machine.machine.path(part)).unwrap();
    }
    let folder = machine.machine.path("");
    Swtpm::manufacture(&folder, Banks::Sha256).unwrap();
    machine.machine.start().unwrap();
    let line = machine.machine.serial.wait("casemate: phase", BOOT).unwrap();
    assert!(line.contains("locked (not-listed)"), "{line}");
    machine.machine.serial.wait("casemate: ready", BOOT).unwrap();
    let client = machine.remote.believer("web").unwrap();
    let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).unwrap();
    assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "not-operational"));
}

#[test]
fn no_tpm_is_refused() {
    let folder = fresh("no-tpm");
    let hardware = Hardware { tpm: None, ..Hardware::default() };
    let mut machine = Machine::create(&folder, &fixture().built.disk(), hardware).unwrap();
    machine.start().unwrap();
    machine.serial.wait("casemate: refused: no-tpm", BOOT).unwrap();
}

#[test]
fn a_tpm_without_a_sha256_bank_is_refused() {
    let folder = fresh("sha1");
    let hardware = Hardware { tpm: Some(Banks::Sha1), ..Hardware::default() };
    let mut machine = Machine::create(&folder, &fixture().built.disk(), hardware).unwrap();
    machine.start().unwrap();
    machine.serial.wait("casemate: refused: no-sha256-bank", BOOT).unwrap();
}
