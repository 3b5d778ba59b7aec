//! Finding the appliance's disk: the partition named `state`, and the two ESPs beside it. Names come
//! from sysfs, GUIDs from the partition table; no file system is ever parsed.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use casemate_formats::efi::Guid;

use super::gpt;

/// GPT name of the appliance's raw partition.
pub const STATE: &str = "state";

/// The disk that the appliance runs from.
#[derive(Clone, Debug)]
pub struct Found {
    /// Device of the `state` partition.
    pub state: PathBuf,
    /// Device of the whole disk.
    pub disk: PathBuf,
    /// Its EFI system partitions in order: A, then B.
    pub esps: Vec<gpt::Partition>,
}

/// Why there is no disk to run from.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No partition has the name.
    #[error("no partition named `state` on any disk")]
    Missing,
    /// More than one has, and none is on the disk that this image was started from.
    #[error("{0} partitions named `state`, none of them on the disk this image was started from")]
    Ambiguous(usize),
    /// sysfs does not say what it should.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Looks through `sys` (`/sys/class/block`) for partitions, whose devices are in `dev`. Of several
/// disks with a `state` partition, the one that `started_from` is on.
///
/// # Errors
/// See [`DiskError`].
pub fn find(sys: &Path, dev: &Path, started_from: Option<Guid>) -> Result<Found, DiskError> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(sys)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        let uevent = fs::read_to_string(entry.join("uevent")).unwrap_or_default();
        if property(&uevent, "PARTNAME") != Some(STATE) {
            continue;
        }
        // The partition's folder lies in its disk's.
        let disk = fs::canonicalize(&entry)?.parent().map(Path::to_owned);
        let (Some(disk), Some(name)) = (disk, property(&uevent, "DEVNAME")) else { continue };
        found.push(describe(&disk, dev, name));
    }
    let started = |found: &Found| found.esps.iter().any(|esp| Some(esp.guid) == started_from);
    match found.len() {
        0 => Err(DiskError::Missing),
        1 => Ok(found.remove(0)),
        many => found.into_iter().find(started).ok_or(DiskError::Ambiguous(many)),
    }
}

fn describe(disk: &Path, dev: &Path, state: &str) -> Found {
    let uevent = fs::read_to_string(disk.join("uevent")).unwrap_or_default();
    let device = dev.join(property(&uevent, "DEVNAME").unwrap_or_default());
    let block = fs::read_to_string(disk.join("queue/logical_block_size"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(512);
    // A table that cannot be read costs the boot entries, not the boot.
    let mut esps =
        File::open(&device).and_then(|mut f| gpt::read(&mut f, block)).unwrap_or_default();
    esps.retain(|partition| partition.esp);
    Found { state: dev.join(state), disk: device, esps }
}

/// A value of a `uevent` file. Names with a slash would leave the device folder.
fn property<'a>(uevent: &'a str, key: &str) -> Option<&'a str> {
    let value = uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    (!value.is_empty() && !value.contains('/')).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sysfs with a disk of three partitions for each name.
    fn sysfs(disks: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let class = root.path().join("class");
        fs::create_dir_all(&class).expect("class");
        for (disk, label) in disks {
            let folder = root.path().join("devices").join(disk);
            let partition = folder.join(format!("{disk}3"));
            fs::create_dir_all(&partition).expect("partition");
            fs::write(folder.join("uevent"), format!("DEVNAME={disk}\n")).expect("uevent");
            fs::write(
                partition.join("uevent"),
                format!("DEVNAME={disk}3\nPARTN=3\nPARTNAME={label}\n"),
            )
            .expect("uevent");
            for (name, target) in [(format!("{disk}3"), &partition), ((*disk).to_owned(), &folder)]
            {
                std::os::unix::fs::symlink(target, class.join(name)).expect("link");
            }
        }
        root
    }

    fn look(root: &tempfile::TempDir) -> Result<Found, DiskError> {
        find(&root.path().join("class"), Path::new("/dev"), None)
    }

    #[test]
    fn the_partition_named_state_is_found_among_other_disks() {
        let root = sysfs(&[("sda", "data"), ("vda", "state")]);
        let found = look(&root).expect("found");
        assert_eq!(found.state, Path::new("/dev/vda3"));
        assert_eq!(found.disk, Path::new("/dev/vda"));
    }

    #[test]
    fn none_and_two_are_named_refusals() {
        assert!(matches!(look(&sysfs(&[("vda", "states")])), Err(DiskError::Missing)));
        let two = sysfs(&[("vda", "state"), ("vdb", "state")]);
        assert!(matches!(look(&two), Err(DiskError::Ambiguous(2))));
    }

    #[test]
    fn a_device_name_cannot_leave_its_folder() {
        assert_eq!(property("DEVNAME=../etc/passwd\n", "DEVNAME"), None);
        assert_eq!(property("DEVNAME=vda\n", "DEVNAME"), Some("vda"));
        assert_eq!(property("XDEVNAME=vda\n", "DEVNAME"), None);
    }

    proptest! {
        #[test]
        fn no_uevent_makes_the_parser_panic(text in "\\PC*", key in "[A-Z]{1,8}") {
            let _ = property(&text, &key);
        }
    }
}
