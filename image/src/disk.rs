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

use crate::{fat, flash};

/// The file that firmware starts without being told.
pub const BOOT_FILE: &str = "EFI/BOOT/BOOTX64.EFI";

/// Sectors behind the last partition: the backup table and its header.
const BACKUP_SECTORS: u64 = 33;
/// Bytes of a table's entries: 128 of 128 bytes.
const ENTRY_BYTES: usize = 128 * 128;
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

/// How a disk of some size is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    sectors: u64,
}

impl Layout {
    /// Of a disk of so many bytes: `state` fills what the ESPs and the tables leave.
    ///
    /// # Errors
    /// It is too small.
    pub fn of(total: u64) -> Result<Self> {
        let minimum = total_bytes(STATE_MIN_BYTES);
        ensure!(total >= minimum, "expected a disk of at least {minimum} bytes, found {total}");
        Ok(Self { sectors: total / SECTOR })
    }

    /// Bytes of `state`.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        (state_end(self.sectors) + 1 - STATE.start) * SECTOR
    }

    /// What lies where, beside the tables: offset and content. `state` is what it begins with.
    #[must_use]
    pub fn places<'a>(&self, esp: &'a [u8], state: &'a [u8]) -> [(u64, &'a [u8]); 3] {
        let at = |partition: Partition| partition.start * SECTOR;
        [(at(ESP_A), esp), (at(ESP_B), esp), (at(STATE), state)]
    }

    /// Writes protective MBR, GPT and its backup at the device's end.
    ///
    /// # Errors
    /// The device's.
    pub fn write_table(&self, device: &mut File) -> Result<()> {
        let protected = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        ProtectiveMBR::with_lb_size(protected).overwrite_lba0(device)?;
        let mut table = gpt::GptConfig::new()
            .writable(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .create_from_device(&mut *device, Some(DISK_GUID))?;
        table.update_partitions(self.entries())?;
        table.write()?;
        Ok(())
    }

    /// Reads both tables back: the first one says what was laid, the backup says the same.
    ///
    /// # Errors
    /// They do not.
    pub fn check_table(&self, device: &mut File) -> Result<()> {
        let table = gpt::GptConfig::new()
            .writable(false)
            .only_valid_headers(true)
            .open_from_device(device.try_clone()?)
            .context("read-back: the partition table does not read back")?;
        let facts = |number: &u32, p: &gpt::partition::Partition| {
            (*number, p.part_type_guid.guid, p.part_guid, p.first_lba, p.last_lba, p.name.clone())
        };
        let laid = self.entries();
        let laid: Vec<_> = laid.iter().map(|(number, p)| facts(number, p)).collect();
        let read: Vec<_> = table.partitions().iter().map(|(number, p)| facts(number, p)).collect();
        ensure!(read == laid, "read-back: other partitions than laid");
        drop(table);
        let mut entries = [vec![0; ENTRY_BYTES], vec![0; ENTRY_BYTES]];
        for (read, sector) in entries.iter_mut().zip([2, self.sectors - BACKUP_SECTORS]) {
            device.seek(SeekFrom::Start(sector * SECTOR))?;
            device.read_exact(read)?;
        }
        ensure!(entries[0] == entries[1], "read-back: the backup table is another one");
        Ok(())
    }

    fn entries(&self) -> BTreeMap<u32, gpt::partition::Partition> {
        let esp_end = |p: &Partition| p.start + ESP_BYTES / SECTOR - 1;
        BTreeMap::from([
            (ESP_A.number, entry(&ESP_A, esp_end(&ESP_A))),
            (ESP_B.number, entry(&ESP_B, esp_end(&ESP_B))),
            (STATE.number, entry(&STATE, state_end(self.sectors))),
        ])
    }
}

/// Writes a whole disk: tables, both ESPs, and zeroes at the start of `state`, which is what an empty
/// one looks like.
///
/// # Errors
/// It is too small, or cannot be written.
pub fn write(device: &mut File, esp: &[u8]) -> Result<()> {
    let layout = Layout::of(device.seek(SeekFrom::End(0))?)?;
    ensure!(esp.len() as u64 == ESP_BYTES, "expected an ESP of {ESP_BYTES} bytes");
    layout.write_table(device)?;
    for (at, content) in layout.places(esp, &flash::bundle::blank()) {
        put(device, at, content)?;
    }
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
