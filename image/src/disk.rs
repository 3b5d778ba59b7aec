//! Lays the signed UKI on a disk: an ESP (FAT32, the same bytes for the same UKI) twice, and an empty
//! `state` that fills the rest, under a GPT whose GUIDs are fixed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use casemate_formats::efi::partition::{
    ESP_A, ESP_B, ESP_BYTES, Partition, SECTOR, STATE, STATE_MIN_BYTES,
};
use gpt::{disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types};
use uuid::Uuid;

use crate::fat;

/// The file that firmware starts without being told.
pub const BOOT_FILE: &str = "EFI/BOOT/BOOTX64.EFI";

/// Sectors behind the last partition: the backup table and its header.
const BACKUP_SECTORS: u64 = 33;
/// GUID of the disk itself; like the partitions', the same everywhere.
const DISK_GUID: Uuid = Uuid::from_u128(0x7a1e_c0de_5a11_4c0f_8ca5_e3a7_e57a_7edd);

/// The ESP that holds this UKI: 64 MiB, hashed whole.
///
/// # Errors
/// The UKI does not fit.
pub fn esp(uki: &[u8]) -> Result<Vec<u8>> {
    fat::volume(usize::try_from(ESP_BYTES)?, uki).with_context(|| {
        format!("expected a UKI that fits into an ESP of {ESP_BYTES} bytes, found {}", uki.len())
    })
}

/// The UKI in an ESP.
///
/// # Errors
/// It is not an ESP as [`esp`] makes it.
pub fn uki_of(esp: &[u8]) -> Result<Vec<u8>> {
    fat::content(esp).with_context(|| format!("expected an ESP that holds {BOOT_FILE} alone"))
}

/// Bytes of a disk whose `state` has that many.
#[must_use]
pub fn total_bytes(state_bytes: u64) -> u64 {
    STATE.start * SECTOR + state_bytes.next_multiple_of(1 << 20) + (1 << 20)
}

/// Writes a whole disk: table, both ESPs, and zeroes at the start of `state`, which is what an empty
/// one looks like. `state` fills the device, whatever its size.
///
/// # Errors
/// It is too small, or cannot be written.
pub fn write(device: &mut File, esp: &[u8]) -> Result<()> {
    let (minimum, total) = (total_bytes(STATE_MIN_BYTES), device.seek(SeekFrom::End(0))?);
    ensure!(total >= minimum, "expected a disk of at least {minimum} bytes, found {total}");
    ensure!(esp.len() as u64 == ESP_BYTES, "expected an ESP of {ESP_BYTES} bytes");
    let sectors = total / SECTOR;
    let protected = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(protected).overwrite_lba0(device)?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(&mut *device, Some(DISK_GUID))?;
    let esp_end = |p: &Partition| p.start + ESP_BYTES / SECTOR - 1;
    table.update_partitions(BTreeMap::from([
        (ESP_A.number, entry(&ESP_A, esp_end(&ESP_A))),
        (ESP_B.number, entry(&ESP_B, esp_end(&ESP_B))),
        (STATE.number, entry(&STATE, state_end(sectors))),
    ]))?;
    table.write()?;
    for partition in [ESP_A, ESP_B] {
        put(device, partition.start * SECTOR, esp)?;
    }
    put(device, STATE.start * SECTOR, &vec![0; usize::try_from(STATE_MIN_BYTES)?])?;
    device.sync_all()?;
    Ok(())
}

/// Writes a sparse disk image.
///
/// # Errors
/// The file cannot be written.
pub fn create(file: &Path, state_bytes: u64, esp: &[u8]) -> Result<()> {
    let fresh = file.with_extension("partial");
    let mut device =
        File::options().create(true).truncate(true).read(true).write(true).open(&fresh)?;
    device.set_len(total_bytes(state_bytes))?;
    write(&mut device, esp)?;
    std::fs::rename(&fresh, file)?;
    Ok(())
}

/// Reads both ESPs back from a disk or an image of one.
///
/// # Errors
/// It has not this layout.
pub fn read_esps(device: &mut File) -> Result<[Vec<u8>; 2]> {
    let table = gpt::GptConfig::new()
        .writable(false)
        .open_from_device(device.try_clone()?)
        .context("expected a GPT")?;
    for expected in [ESP_A, ESP_B, STATE] {
        let found = table.partitions().get(&expected.number);
        let fits = found.is_some_and(|p| {
            p.first_lba == expected.start && p.part_guid == guid(&expected.guid.0)
        });
        if !fits {
            bail!("expected partition {} `{}` as `image` lays it", expected.number, expected.name);
        }
    }
    drop(table);
    let mut read = |partition: Partition| -> Result<Vec<u8>> {
        let mut esp = vec![0; usize::try_from(ESP_BYTES)?];
        device.seek(SeekFrom::Start(partition.start * SECTOR))?;
        device.read_exact(&mut esp)?;
        Ok(esp)
    };
    Ok([read(ESP_A)?, read(ESP_B)?])
}

/// The last sector of `state`: before the backup table, at the end of a whole MiB.
fn state_end(sectors: u64) -> u64 {
    let usable = sectors - BACKUP_SECTORS;
    usable / 2_048 * 2_048 - 1
}

fn entry(partition: &Partition, last_lba: u64) -> gpt::partition::Partition {
    let mut kind = partition_types::BASIC;
    kind.guid = guid(&partition.kind.0);
    gpt::partition::Partition {
        part_type_guid: kind,
        part_guid: guid(&partition.guid.0),
        first_lba: partition.start,
        last_lba,
        flags: 0,
        name: partition.name.to_owned(),
    }
}

fn guid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes_le(*bytes)
}

fn put(device: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    device.seek(SeekFrom::Start(at))?;
    device.write_all(bytes)
}

#[cfg(test)]
mod tests;
