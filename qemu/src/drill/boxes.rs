//! Boxes that come, go, and lose what they had.

use anyhow::{Context as _, Result, ensure};

use super::{Block, Scene};
use crate::{machine::copy_sparse, varstore::VarStore, world::BOOT};

/// EFI_IMAGE_SECURITY_DATABASE_GUID and EFI_CERT_SHA256_GUID as they lie in memory (UEFI 2.10, 32.4.1).
const SECURITY_DATABASE: [u8; 16] = guid(0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc_dad0_0e67_656f);
const SHA256_LIST: [u8; 16] = guid(0xc1c4_1626, 0x504c, 0x4092, 0xaca9_41f9_3693_4328);

pub fn first(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.unpack("alpha")?;
    scene.about("alpha", "alpha");
    scene.run(&page[0])?;
    scene.keep_token("alpha")
}

pub fn second(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.unpack("beta")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")
}

pub fn lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.unpack("beta")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")
}

/// It keeps nothing: not by itself, and not under the disk of before.
pub fn retired(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.power_off("beta")?;
    let disk = scene.world.machine("beta")?.path("disk.img");
    let before = disk.with_extension("before");
    copy_sparse(&disk, &before)?;
    scene.power_on("beta")?;
    scene.reads_old_token("beta")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.world.machine("beta")?.serial.wait("phase locked (retired)", BOOT)?;
    ensure!(scene.reads_old_token("beta").is_err(), "a retired box decrypts");

    scene.power_off("beta")?;
    copy_sparse(&before, &disk)?;
    scene.power_on("beta")?;
    let console = scene.world.machine("beta")?.serial.text();
    ensure!(console.contains("phase locked ("), "the disk of before opens:\n{console}");
    ensure!(scene.reads_old_token("beta").is_err(), "a retired box decrypts with its former disk");
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

pub fn disk_lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.new_disk("beta")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")
}

pub fn tpm_cleared(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.clear_tpm("beta")?;
    scene.power_on("beta")?;
    is_locked(scene, "beta", "no-live-slot")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")
}

pub fn not_sealed(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.edit("hosts/beta.toml", "sealed = true", "sealed = false")?;
    scene.publish()?;
    for _ in 0..2 {
        scene.power_off("beta")?;
        scene.power_on("beta")?;
        is_locked(scene, "beta", "not-sealed")?;
        scene.about("beta", "alpha");
        scene.run(&page[0])?;
        scene.reads_old_token("beta")?;
    }
    Ok(())
}

/// A firmware update that fills the list of forbidden images: PCR 7 is another.
pub fn firmware_update(scene: &mut Scene, page: &[Block]) -> Result<()> {
    let variables = scene.world.machine("beta")?.path("vars.fd");
    scene.power_off("beta")?;
    let mut store = VarStore::read(&variables)?;
    let mut list = SHA256_LIST.to_vec();
    for word in [76_u32, 0, 48] {
        list.extend(word.to_le_bytes());
    }
    list.extend([0x5a; 48]);
    store.add("dbx", &SECURITY_DATABASE, 0x27, &list)?;
    store.write(&variables)?;
    scene.power_on("beta")?;
    is_locked(scene, "beta", "not-listed")?;
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")?;
    scene.run(&page[1])?;
    starts_without_hands(scene, "beta")
}

/// Fire: both machines are new, and a custodian could not be reached.
pub fn all_lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.unpack("alpha")?;
    scene.world.take("beta")?.cut();
    scene.custodians.remove(0);
    scene.about("alpha", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

pub fn all_blank(scene: &mut Scene, page: &[Block]) -> Result<()> {
    for host in ["alpha", "beta"] {
        scene.new_disk(host)?;
        scene.clear_tpm(host)?;
    }
    scene.about("alpha", "alpha");
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

/// A bundle that lists a wrong PCR 7 for the box is refused and changes nothing; one that takes a
/// right from the application is accepted, and a further one gives it back.
pub fn wrong_bundle(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    scene.edit("bundle.toml", "[\"encrypt\", \"decrypt\"]", "[\"encrypt\"]")?;
    scene.publish()?;
    ensure!(scene.reads_old_token("alpha").is_err(), "the wrong bundle took no right away");
    scene.edit("bundle.toml", "[\"encrypt\"]", "[\"encrypt\", \"decrypt\"]")?;
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

/// An address that the network does not have: the box answers on the former one until it is started.
pub fn wrong_address(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("beta", "alpha");
    let host = "hosts/beta.toml";
    scene.edit(host, "\naddresses = []", "\naddresses = [\"10.77.0.9/24\"]")?;
    scene.publish()?;
    scene.reads_old_token("beta").context("the former address still answers")?;
    scene.edit(host, "10.77.0.9/24", "10.0.2.15/24")?;
    scene.run(&page[0])?;
    scene.reads_old_token("beta")?;
    starts_without_hands(scene, "beta")
}

/// Off and on: nobody is at the keyboard, the old token is read.
pub fn starts_without_hands(scene: &mut Scene, host: &str) -> Result<()> {
    scene.power_off(host)?;
    scene.power_on(host)?;
    scene.reads_old_token(host)
}

fn is_locked(scene: &mut Scene, host: &str, reason: &str) -> Result<()> {
    let console = scene.world.machine(host)?.serial.text();
    let wanted = format!("phase locked ({reason})");
    ensure!(console.contains(&wanted), "expected {wanted} on the console of {host}:\n{console}");
    Ok(())
}

const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}
