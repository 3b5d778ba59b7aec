//! Disks changed: another one under the same TPM, an older one, one with a flipped bit.

use casemate_formats::efi::partition::STATE;
use casemate_qemu::{
    machine::{Hardware, copy_sparse},
    partition,
};
use casemate_tests::machine::{BOOT, decrypt_body};

use crate::{
    firmware::assert_refused,
    fixture::{copy, fixture},
};

#[test]
fn another_disk_under_the_same_tpm_is_unprovisioned() {
    let mut machine = copy("other-disk", Hardware::default());
    copy_sparse(&fixture().built.disk(), &machine.machine.path("disk.img")).unwrap();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: phase unprovisioned", BOOT).unwrap();
}

#[test]
fn the_disk_of_two_bundles_ago_stays_locked() {
    let mut machine = copy("old-disk", Hardware::default());
    copy_sparse(&fixture().old_disk, &machine.machine.path("disk.img")).unwrap();
    machine.machine.start().unwrap();
    let line = machine.machine.serial.wait("casemate: phase", BOOT).unwrap();
    assert!(line.contains("locked (no-live-slot)"), "{line}");
    machine.machine.serial.wait("casemate: ready", BOOT).unwrap();
    let client = machine.remote.believer("web").unwrap();
    let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).unwrap();
    assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "not-operational"));
}

#[test]
fn the_disk_of_before_the_last_boot_tick_keeps_reads_closed() {
    let mut machine = copy("before-tick", Hardware::default());
    let (disk, kept) = (machine.machine.path("disk.img"), machine.machine.path("kept.img"));
    copy_sparse(&disk, &kept).unwrap();
    machine.power_cycle().expect("Operational: this boot ticks");
    machine.machine.cut();
    copy_sparse(&kept, &disk).unwrap();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    machine.machine.serial.wait("casemate: ready", BOOT).unwrap();
    let client = machine.remote.client("web").unwrap();
    let answer = client.post("/v1/decrypt", &decrypt_body(&fixture().token)).unwrap();
    assert_eq!((answer.status, answer.code().unwrap().as_str()), (503, "state-rolled-back"));
    machine.encrypt(b"goes on").expect("encryption goes on");
}

#[test]
fn a_flipped_bit_in_the_header_of_state_is_refused() {
    let mut machine = copy("flipped", Hardware::default());
    partition::flip(&machine.machine.path("disk.img"), STATE.name, 20).unwrap();
    assert_refused(&mut machine, &["state"]);
}
