//! The firmware's variables, through efivarfs: what PID 1 reads and the few that it writes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use casemate_formats::efi::{
    Guid,
    boot_entry::{self, Esp},
    partition, variable,
};
use nix::{errno::Errno, mount::MsFlags};

use super::raw;

/// Where efivarfs is mounted.
pub const EFIVARFS: &str = "/sys/firmware/efi/efivars";

/// The boot loader interface's vendor GUID; systemd-stub sets `LoaderDevicePartUUID` under it.
const LOADER: Guid =
    Guid::new(0x4a67_b082, 0x0a4c, 0x41cf, [0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f]);

/// Largest variable that is read: firmware's own limits are 32 or 64 KiB.
const MAX_BYTES: u64 = 128 * 1024;

/// Variables under one folder.
#[derive(Clone, Debug)]
pub struct Variables {
    root: PathBuf,
}

/// Mounts efivarfs, which asks the firmware for every variable it has: about a second where each
/// question goes through system management mode, so only who needs it does it.
///
/// # Errors
/// The kernel's: not started by UEFI firmware.
pub fn mount() -> io::Result<Variables> {
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match nix::mount::mount(Some("efivarfs"), EFIVARFS, Some("efivarfs"), closed, None::<&str>) {
        // EBUSY: it is mounted already.
        Ok(()) | Err(Errno::EBUSY) => Ok(Variables::new(Path::new(EFIVARFS))),
        Err(error) => Err(error.into()),
    }
}

impl Variables {
    /// The machine's (or a test's) variables.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A variable's content without its attributes; `None`: there is none. A failed creation leaves an
    /// empty file behind, which is none as well.
    ///
    /// # Errors
    /// The firmware's, or a variable without attributes or of unreasonable size.
    pub fn read(&self, name: &str, vendor: Guid) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(name, vendor)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() < 4 || bytes.len() as u64 > MAX_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Some(bytes.split_off(4)))
    }

    /// Writes a variable in one write, whatever stands there.
    ///
    /// # Errors
    /// The firmware's: `PermissionDenied` for a signature that it does not accept.
    pub fn write(
        &self,
        name: &str,
        vendor: Guid,
        attributes: u32,
        content: &[u8],
    ) -> io::Result<()> {
        let path = self.path(name, vendor);
        if let Ok(existing) = File::open(&path) {
            // Delicate variables are immutable until told otherwise; other file systems have no flag.
            let _ = raw::make_mutable(&existing);
        }
        let mut bytes = attributes.to_le_bytes().to_vec();
        bytes.extend_from_slice(content);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.write(&bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    /// Whether the firmware is in set-up mode: keys can be enrolled.
    ///
    /// # Errors
    /// The firmware's; a machine without the variable is an error too (no UEFI 2.3.1).
    pub fn set_up_mode(&self) -> io::Result<bool> {
        self.flag("SetupMode")
    }

    /// Whether the firmware checked the signature of what it started.
    ///
    /// # Errors
    /// As [`Self::set_up_mode`].
    pub fn secure_boot(&self) -> io::Result<bool> {
        self.flag("SecureBoot")
    }

    /// The ESP that this image was started from, if the stub could tell and it is one of ours.
    #[must_use]
    pub fn started_from(&self) -> Option<Esp> {
        let content = self.read("LoaderDevicePartUUID", LOADER).ok()??;
        partition::esp_of(&utf16(&content)?)
    }

    /// Numbers of the boot order; a missing or odd one is empty.
    #[must_use]
    pub fn boot_order(&self) -> Vec<u16> {
        let content = self.read("BootOrder", variable::GLOBAL).ok().flatten().unwrap_or_default();
        content.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect()
    }

    /// Sets the boot order.
    ///
    /// # Errors
    /// The firmware's.
    pub fn set_boot_order(&self, order: &[u16]) -> io::Result<()> {
        let content: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.write("BootOrder", variable::GLOBAL, boot_entry::ATTRIBUTES, &content)
    }

    /// Has the firmware start this entry once, at the next start.
    ///
    /// # Errors
    /// The firmware's.
    pub fn set_boot_next(&self, number: u16) -> io::Result<()> {
        let content = number.to_le_bytes();
        self.write("BootNext", variable::GLOBAL, boot_entry::ATTRIBUTES, &content)
    }

    /// Numbers of all boot entries, ascending.
    ///
    /// # Errors
    /// efivarfs's.
    pub fn boot_numbers(&self) -> io::Result<Vec<u16>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(boot_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A boot entry's content.
    ///
    /// # Errors
    /// The firmware's.
    pub fn boot_entry(&self, number: u16) -> io::Result<Option<Vec<u8>>> {
        self.read(&boot_name(number), variable::GLOBAL)
    }

    /// Writes a boot entry.
    ///
    /// # Errors
    /// The firmware's.
    pub fn set_boot_entry(&self, number: u16, content: &[u8]) -> io::Result<()> {
        self.write(&boot_name(number), variable::GLOBAL, boot_entry::ATTRIBUTES, content)
    }

    fn flag(&self, name: &str) -> io::Result<bool> {
        match self.read(name, variable::GLOBAL)?.as_deref() {
            Some([0]) => Ok(false),
            Some([1]) => Ok(true),
            Some(_) => Err(ErrorKind::InvalidData.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn path(&self, name: &str, vendor: Guid) -> PathBuf {
        self.root.join(format!("{name}-{vendor}"))
    }
}

fn boot_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// The number of a boot entry's file name: `Boot` and four upper-case hex digits.
fn boot_number(file: &str) -> Option<u16> {
    let digits = file.strip_prefix("Boot")?.strip_suffix(&format!("-{}", variable::GLOBAL))?;
    let number = u16::from_str_radix(digits, 16).ok()?;
    (boot_name(number).strip_prefix("Boot") == Some(digits)).then_some(number)
}

/// UCS-2 text up to its NUL.
fn utf16(content: &[u8]) -> Option<String> {
    let units: Vec<u16> = content
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder() -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().expect("a folder");
        let variables = Variables::new(folder.path());
        (folder, variables)
    }

    #[test]
    fn a_variable_is_read_without_its_attributes_and_an_empty_file_is_none() {
        let (_folder, variables) = folder();
        assert_eq!(variables.read("PK", variable::GLOBAL).expect("read"), None);
        variables.write("PK", variable::GLOBAL, 0x27, b"keys").expect("write");
        assert_eq!(
            variables.read("PK", variable::GLOBAL).expect("read").as_deref(),
            Some(&b"keys"[..])
        );
        std::fs::write(variables.path("PK", variable::GLOBAL), b"").expect("empty");
        assert_eq!(variables.read("PK", variable::GLOBAL).expect("read"), None);
        std::fs::write(variables.path("PK", variable::GLOBAL), b"abc").expect("short");
        assert!(variables.read("PK", variable::GLOBAL).is_err());
    }

    #[test]
    fn a_flag_is_one_byte_of_zero_or_one() {
        let (_folder, variables) = folder();
        assert!(variables.secure_boot().is_err());
        for (byte, expected) in [(0, Some(false)), (1, Some(true)), (2, None)] {
            variables.write("SecureBoot", variable::GLOBAL, 6, &[byte]).expect("write");
            assert_eq!(variables.secure_boot().ok(), expected);
        }
    }

    #[test]
    fn the_esp_that_was_started_from_is_the_one_the_stub_names() {
        let (_folder, variables) = folder();
        assert_eq!(variables.started_from(), None);
        let text = partition::ESP_B.guid.to_string().to_uppercase();
        let content: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        variables.write("LoaderDevicePartUUID", LOADER, 6, &content).expect("write");
        assert_eq!(variables.started_from(), Some(Esp::B));
    }

    #[test]
    fn the_boot_order_survives() {
        let (_folder, variables) = folder();
        assert!(variables.boot_order().is_empty());
        variables.set_boot_order(&[3, 0x0102]).expect("write");
        assert_eq!(variables.boot_order(), [3, 0x0102]);
    }

    proptest! {
        #[test]
        fn no_content_makes_a_reader_panic(content: Vec<u8>, text in ".{0,40}") {
            let _ = utf16(&content).as_deref().map(partition::esp_of);
            let _ = boot_number(&text);
        }
    }
}
