//! Where a disk image may be written: a whole disk that nothing uses, or a file. Decided from sysfs and
//! `/proc` (proc(5), mountinfo and swaps), whose roots are arguments; the kernel's own word, an
//! exclusive open, comes after.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use casemate_formats::efi::partition::{SECTOR, STATE_MIN_BYTES};

use crate::disk;

/// Mount points of a system that runs from a disk.
const SYSTEM: [&str; 5] = ["/", "/boot", "/boot/efi", "/usr", "/var"];

/// Where the kernel says what there is.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    /// `/sys`.
    pub sys: &'a Path,
    /// `/proc`.
    pub proc: &'a Path,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A disk.
    Disk(Disk),
    /// A file that is there already, with its size.
    File(u64),
    /// A file that is made.
    New,
}

/// A disk, as a person tells it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its kernel name.
    pub name: String,
    /// Who made it and what it is; may be empty.
    pub model: String,
    /// Its serial number; may be empty.
    pub serial: String,
    /// Its bytes.
    pub bytes: u64,
    /// Names of its partitions.
    pub partitions: Vec<String>,
}

/// Why nothing is written there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Neither a disk nor a file.
    #[error("not-a-disk: expected a disk or a file, found something else: {0}")]
    NotADisk(PathBuf),
    /// A part of a disk.
    #[error("partition: expected a whole disk, found its partition {0}: name the disk")]
    Partition(String),
    /// It cannot be written.
    #[error("read-only: {0} is write-protected: take the protection off")]
    ReadOnly(String),
    /// Firmware reads the image's table in sectors of 512 bytes.
    #[error("sector-size: expected a disk with sectors of 512 bytes, found {0}: take another one")]
    SectorSize(u64),
    /// No room.
    #[error("too-small: expected a disk of at least {expected} bytes, found {found}")]
    TooSmall {
        /// What an appliance needs.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// This very system runs from it.
    #[error("system-disk: {device} holds {mount} of the running system: look again with `lsblk`")]
    SystemDisk {
        /// The part of it.
        device: String,
        /// Where it is mounted.
        mount: String,
    },
    /// A file system on it is in use.
    #[error("mounted: {device} is mounted at {mount}: unmount it if it is the right disk")]
    Mounted {
        /// The part of it.
        device: String,
        /// Where.
        mount: String,
    },
    /// It is swapped to.
    #[error("swap: {0} is swap space in use: `swapoff` it if it is the right disk")]
    Swap(String),
    /// LVM, RAID, encryption, or another user of the kernel's.
    #[error("in-use: {device} is held by {by}: take that down if it is the right disk")]
    InUse {
        /// The part of it.
        device: String,
        /// Who has it.
        by: String,
    },
    /// sysfs or /proc do not say what they should.
    #[error("cannot look at {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Looks at what is named and refuses what must not be written.
///
/// # Errors
/// [`Refused`].
pub fn look(to: &Path, roots: Roots<'_>) -> Result<Target, Refused> {
    let metadata = match fs::metadata(to) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Target::New),
        Err(error) => return Err(Refused::Io { path: to.to_owned(), error }),
    };
    if metadata.file_type().is_block_device() {
        let number =
            (nix::sys::stat::major(metadata.rdev()), nix::sys::stat::minor(metadata.rdev()));
        return look_at_disk(number, roots).map(Target::Disk);
    }
    if !metadata.is_file() {
        return Err(Refused::NotADisk(to.to_owned()));
    }
    enough(metadata.len())?;
    Ok(Target::File(metadata.len()))
}

/// As [`look`], for the block device of this number (major, minor).
///
/// # Errors
/// [`Refused`].
pub fn look_at_disk(number: (u64, u64), roots: Roots<'_>) -> Result<Disk, Refused> {
    let folder = roots.sys.join(format!("dev/block/{}:{}", number.0, number.1));
    let folder = folder.canonicalize().map_err(|error| Refused::Io { path: folder, error })?;
    let name = file_name(&folder);
    if folder.join("partition").exists() {
        return Err(Refused::Partition(name));
    }
    // The disk and its partitions, by number.
    let mut parts = vec![(text(&folder, "dev"), folder.clone())];
    for entry in read_dir(&folder)? {
        if entry.join("partition").exists() {
            parts.push((text(&entry, "dev"), entry));
        }
    }
    in_use(&parts, roots)?;
    if text(&folder, "ro") == "1" {
        return Err(Refused::ReadOnly(name));
    }
    match text(&folder, "queue/logical_block_size").parse() {
        Ok(SECTOR) => {}
        other => return Err(Refused::SectorSize(other.unwrap_or(0))),
    }
    let bytes = text(&folder, "size").parse::<u64>().unwrap_or(0).saturating_mul(512);
    enough(bytes)?;
    let first = |names: &[&str]| {
        names.iter().map(|name| text(&folder, name)).find(|t| !t.is_empty()).unwrap_or_default()
    };
    let model = format!("{} {}", text(&folder, "device/vendor"), first(&["device/model"]));
    let backing = first(&["loop/backing_file"]);
    Ok(Disk {
        model: if backing.is_empty() { model.trim().to_owned() } else { backing },
        serial: first(&["serial", "device/serial", "device/wwid", "wwid"]),
        bytes,
        partitions: parts[1..].iter().map(|(_, folder)| file_name(folder)).collect(),
        name,
    })
}

fn enough(found: u64) -> Result<(), Refused> {
    let expected = disk::total_bytes(STATE_MIN_BYTES);
    if found < expected { Err(Refused::TooSmall { expected, found }) } else { Ok(()) }
}

/// Mounts first, because they say most; then swap; then whatever else holds it.
fn in_use(parts: &[(String, PathBuf)], roots: Roots<'_>) -> Result<(), Refused> {
    let part_of = |number: &str| parts.iter().find(|(n, _)| n == number).map(|(_, f)| file_name(f));
    let named = |device: &str| {
        let name = device.strip_prefix("/dev/")?;
        parts.iter().map(|(_, folder)| file_name(folder)).find(|part| part == name)
    };
    let mut found = None;
    for line in read(&roots.proc.join("self/mountinfo"))?.lines() {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(number), Some(mount)) = (words.get(2), words.get(4)) else { continue };
        let source = words.iter().skip_while(|word| **word != "-").nth(2).copied().unwrap_or("");
        let below = below(number, roots.sys);
        let device = below.iter().find_map(|number| part_of(number)).or_else(|| named(source));
        let Some(device) = device else { continue };
        let mount = (*mount).to_owned();
        if SYSTEM.contains(&mount.as_str()) {
            return Err(Refused::SystemDisk { device, mount });
        }
        found.get_or_insert(Refused::Mounted { device, mount });
    }
    if let Some(refused) = found {
        return Err(refused);
    }
    for line in read(&roots.proc.join("swaps"))?.lines().skip(1) {
        if let Some(device) = line.split_whitespace().next().and_then(named) {
            return Err(Refused::Swap(device));
        }
    }
    for (_, folder) in parts {
        if let Some(by) = read_dir(&folder.join("holders"))?.first() {
            return Err(Refused::InUse { device: file_name(folder), by: file_name(by) });
        }
    }
    Ok(())
}

/// A device and all that it stands on (LVM, RAID, encryption), by number.
fn below(number: &str, sys: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut next = vec![number.to_owned()];
    while let Some(number) = next.pop() {
        if all.insert(number.clone()) {
            let slaves = sys.join("dev/block").join(&number).join("slaves");
            let folders = read_dir(&slaves).unwrap_or_default();
            next.extend(folders.iter().map(|folder| text(folder, "dev")));
        }
    }
    all
}

fn read(path: &Path) -> Result<String, Refused> {
    fs::read_to_string(path).map_err(|error| Refused::Io { path: path.to_owned(), error })
}

/// Entries of a folder in order; one that is not there has none.
fn read_dir(folder: &Path) -> Result<Vec<PathBuf>, Refused> {
    let failed = |error| Refused::Io { path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
