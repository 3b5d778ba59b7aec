//! Finding the appliance's disk: the partitions that `image` named and laid as `state` and the two ESPs,
//! as sysfs shows them. No partition table and no file system is ever parsed here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use casemate_formats::efi::partition::Partition;

/// Why there is no disk to run from.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No partition has name, number and start.
    #[error("no disk has a partition `{0}` as the image lays it")]
    Missing(&'static str),
    /// More than one has: nothing says which is the right one.
    #[error("{1} disks have a partition `{0}`")]
    Ambiguous(&'static str, usize),
    /// sysfs does not say what it should.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The device of a partition, in `dev`, as `sys` (`/sys/class/block`) shows it.
///
/// # Errors
/// See [`DiskError`].
pub fn find(partition: &Partition, sys: &Path, dev: &Path) -> Result<PathBuf, DiskError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sys)? {
        let folder = entry?.path();
        let uevent = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
        let start = fs::read_to_string(folder.join("start")).unwrap_or_default();
        if is(partition, &uevent, &start) {
            found.extend(property(&uevent, "DEVNAME").map(|name| dev.join(name)));
        }
    }
    match found.len() {
        0 => Err(DiskError::Missing(partition.name)),
        1 => Ok(found.remove(0)),
        many => Err(DiskError::Ambiguous(partition.name, many)),
    }
}

fn is(partition: &Partition, uevent: &str, start: &str) -> bool {
    property(uevent, "PARTNAME") == Some(partition.name)
        && property(uevent, "PARTN").and_then(|n| n.parse().ok()) == Some(partition.number)
        && start.trim_end().parse() == Ok(partition.start)
}

/// A value of a `uevent` file. Names with a slash would leave the device folder.
fn property<'a>(uevent: &'a str, key: &str) -> Option<&'a str> {
    let value = uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    (!value.is_empty() && !value.contains('/')).then_some(value)
}

#[cfg(test)]
mod tests {
    use casemate_formats::efi::partition::STATE;
    use proptest::prelude::*;

    use super::*;

    /// A sysfs with one partition for each name and start.
    fn sysfs(partitions: &[(&str, &str, u64)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (device, label, start) in partitions {
            let folder = root.path().join(device);
            fs::create_dir(&folder).expect("partition");
            let uevent = format!("DEVNAME={device}\nPARTN=3\nPARTNAME={label}\n");
            fs::write(folder.join("uevent"), uevent).expect("uevent");
            fs::write(folder.join("start"), format!("{start}\n")).expect("start");
        }
        root
    }

    fn look(partitions: &[(&str, &str, u64)]) -> Result<PathBuf, DiskError> {
        find(&STATE, sysfs(partitions).path(), Path::new("/dev"))
    }

    #[test]
    fn the_state_partition_is_found_among_other_disks() {
        let found = look(&[("sda3", "data", STATE.start), ("vda3", STATE.name, STATE.start)]);
        assert_eq!(found.expect("found"), Path::new("/dev/vda3"));
    }

    #[test]
    fn none_and_two_are_refused() {
        for other in [("vda3", "casemate-states", STATE.start), ("vda3", STATE.name, 2_048)] {
            assert!(matches!(look(&[other]), Err(DiskError::Missing(_))), "{other:?}");
        }
        let two = [("vda3", STATE.name, STATE.start), ("vdb3", STATE.name, STATE.start)];
        assert!(matches!(look(&two), Err(DiskError::Ambiguous(_, 2))));
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
            let _ = is(&STATE, &text, &text);
        }
    }
}
