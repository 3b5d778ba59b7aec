//! The machine that all tests start from: image built, keys enrolled, two bundles, a token; then two
//! more bundles, with the disk of before kept.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use casemate_qemu::machine::{Hardware, copy_sparse};
use casemate_tests::{
    machine::{Box, Built},
    site::Site,
};

/// What the fixture's token holds; no test's output may show it.
pub const PLAINTEXT: &[u8] = b"qemu plaintext 5b1f0c: the vault is empty";

/// An Operational machine that is off, and what tests need beside it.
pub struct Fixture {
    /// The machine.
    pub machine: Box,
    /// Its image.
    pub built: Built,
    /// Encrypted before its first reboot.
    pub token: String,
    /// Its disk when the second bundle was in force; it is two bundles further now.
    pub old_disk: PathBuf,
    /// Console of the first boot.
    pub first_console: String,
}

/// Folder of all machines of this run.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("qemu")
}

/// The fixture, made by the first test that asks.
pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(make)
}

/// A copy of the fixture's machine for one test, off.
pub fn copy(name: &str, hardware: Hardware) -> Box {
    let folder = folder().join(name);
    let _ = fs::remove_dir_all(&folder);
    fixture().machine.copy(&folder, hardware).expect("a copy")
}

/// A folder for a machine that is not a copy.
pub fn fresh(name: &str) -> PathBuf {
    // It clears the folder of all: never beside a test that has begun.
    let _ = fixture();
    let folder = folder().join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn make() -> Fixture {
    let _ = fs::remove_dir_all(folder());
    let site = Arc::new(Site::new().expect("a site"));
    let built = Built::image(&site, &folder().join("image")).expect("an image");
    let mut machine =
        Box::operational(site, &built, &folder().join("machine")).expect("a first boot");
    let token = machine.encrypt(PLAINTEXT).expect("a token");
    let first_console = machine.machine.serial.text();
    machine.machine.cut();
    let old_disk = folder().join("old.img");
    copy_sparse(&machine.machine.path("disk.img"), &old_disk).expect("the old disk");
    machine.power_cycle().expect("a boot without hands");
    assert_eq!(machine.decrypt(&token).expect("decrypts"), PLAINTEXT);
    for _ in 0..2 {
        let mut bundle = machine.remote.bundle.clone().expect("a bundle");
        bundle.site.seq += 1;
        machine.remote.accept(bundle).expect("a further bundle");
    }
    machine.machine.cut();
    Fixture { machine, built, token, old_disk, first_console }
}
