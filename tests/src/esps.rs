//! Two ESPs in memory, a folder of firmware variables, and a firmware in software that starts from them
//! as OVMF does: once what `BootNext` says, then in the boot order, passing over what is no file system.

use std::{
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use casemate_appliance::{
    platform::efi::Variables,
    state::{Blocks, State, UNIT},
    update::{Medium, PATIENCE},
};
use casemate_formats::{
    bundle::body::Image,
    digest::Digest,
    efi::{
        boot_entry::{BootEntry, Esp},
        partition::{self, ESP_BYTES},
        variable,
    },
};
use tempfile::TempDir;

use crate::{disk::TestDisk, firmware_log::FirmwareLog, site::SECTIONS};

/// Where the stub says what it was started from.
const PART_UUID: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// What stands in the first unit of an ESP that holds an image; its number follows.
const MARK: &[u8] = b"an ESP with image ";
/// Bytes that are written here and there, so that no piece of an ESP is like another.
const EVERY: usize = 1 << 20;

/// Two ESPs and their firmware.
pub struct Esps {
    disks: Mutex<[TestDisk; 2]>,
    variables: TempDir,
    restarts: Arc<Mutex<Vec<String>>>,
    patience: AtomicU64,
}

impl Esps {
    /// Both hold image 1; the firmware has no entries yet.
    ///
    /// # Errors
    /// No folder.
    pub fn new() -> Result<Arc<Self>> {
        let esps = Self {
            disks: Mutex::new([1, 1].map(|_| TestDisk::blank(ESP_BYTES / UNIT as u64))),
            variables: TempDir::new()?,
            restarts: Arc::default(),
            patience: AtomicU64::new(PATIENCE.as_millis().try_into()?),
        };
        for esp in [Esp::A, Esp::B] {
            esps.put(esp, 1)?;
        }
        Ok(Arc::new(esps))
    }

    /// Puts an image there, as a tester with a disk in hand does.
    ///
    /// # Errors
    /// The disk's.
    pub fn put(&self, esp: Esp, number: u8) -> io::Result<()> {
        let content = content(number);
        let disk = self.disk(esp);
        for (unit, bytes) in content.chunks(UNIT).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                disk.write(unit as u64, bytes)?;
            }
        }
        Ok(())
    }

    /// One of the disks.
    #[must_use]
    pub fn disk(&self, esp: Esp) -> TestDisk {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks[usize::from(esp == Esp::B)].clone()
    }

    /// Power is back: the disks as they stand.
    pub fn power_cycle(&self) {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        *disks = disks.each_ref().map(TestDisk::copy);
    }

    /// The image that an ESP would start; `None`: it is no file system.
    #[must_use]
    pub fn holds(&self, esp: Esp) -> Option<u8> {
        let unit = self.disk(esp).unit(0);
        Some(*unit.strip_prefix(MARK)?.first()?)
    }

    /// Whether an ESP is an image, whole.
    #[must_use]
    pub fn is_whole(&self, esp: Esp, number: u8) -> bool {
        let disk = self.disk(esp);
        content(number).chunks(UNIT).zip(0..).all(|(bytes, unit)| disk.unit(unit) == bytes)
    }

    /// The firmware's variables.
    #[must_use]
    pub fn variables(&self) -> Variables {
        Variables::new(self.variables.path())
    }

    /// How long a trial waits from the next boot on.
    pub fn set_patience(&self, patience: Duration) {
        self.patience.store(patience.as_millis().try_into().unwrap_or(0), Ordering::Relaxed);
    }

    /// How long a trial waits.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.load(Ordering::Relaxed))
    }

    /// Why the box wanted to start again, each time that it did.
    #[must_use]
    pub fn restarts(&self) -> Vec<String> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the box's keeper works on.
    #[must_use]
    pub fn medium(&self, state: Arc<State>) -> Medium {
        let (variables, restarts) = (self.variables(), Arc::clone(&self.restarts));
        Medium {
            esps: [Esp::A, Esp::B].map(|esp| self.disk(esp).blocks()),
            state,
            variables: Box::new(move || Ok(variables.clone())),
            restart: Box::new(move |why| {
                restarts.lock().unwrap_or_else(PoisonError::into_inner).push(why.to_owned());
            }),
        }
    }

    /// The ESPs in the order in which the firmware would start them now.
    ///
    /// # Errors
    /// The folder's.
    pub fn order(&self) -> Result<Vec<Esp>> {
        let variables = self.variables();
        let mut esps = Vec::new();
        for number in variables.boot_order() {
            let content = variables.boot_entry(number)?;
            esps.extend(content.and_then(|c| BootEntry::decode(&c)).map(|entry| entry.esp));
        }
        // The removable path comes last.
        esps.extend([Esp::A, Esp::B]);
        Ok(esps)
    }

    /// The firmware starts: gives the number of the image that runs.
    ///
    /// # Errors
    /// Nothing can be started.
    pub fn start(&self) -> Result<u8> {
        self.power_cycle();
        let variables = self.variables();
        let mut esps = Vec::new();
        if let Some(next) = variables.read("BootNext", variable::GLOBAL)? {
            let file = format!("BootNext-{}", variable::GLOBAL);
            fs::remove_file(self.variables.path().join(file))?;
            let number = u16::from_le_bytes(next.as_slice().try_into()?);
            let content = variables.boot_entry(number)?;
            esps.extend(content.and_then(|c| BootEntry::decode(&c)).map(|entry| entry.esp));
        }
        esps.extend(self.order()?);
        let started = esps.into_iter().find_map(|esp| Some((esp, self.holds(esp)?)));
        let (esp, number) = started.context("nothing to start")?;
        let text = partition::of(esp).guid.to_string().to_uppercase();
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(units).collect();
        fs::write(self.variables.path().join(PART_UUID), bytes)?;
        Ok(number)
    }
}

/// The 64 MiB of an ESP with image `number`.
#[must_use]
pub fn content(number: u8) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ESP_BYTES).unwrap_or(0)];
    for (index, place) in bytes.chunks_mut(EVERY).enumerate() {
        let index = u8::try_from(index).unwrap_or(0);
        place[UNIT..UNIT + 2].copy_from_slice(&[number, index]);
        place[EVERY - 1] = number;
    }
    bytes[..MARK.len()].copy_from_slice(MARK);
    bytes[MARK.len()] = number;
    bytes
}

/// Sections of image `number`: 1 is the one of [`SECTIONS`].
#[must_use]
pub fn sections(number: u8) -> [(&'static str, &'static [u8]); 2] {
    const KERNELS: [&[u8]; 4] = [b"kernel 0", b"a kernel", b"kernel 2", b"kernel 3"];
    let [linux, initrd] = SECTIONS;
    [(linux.0, KERNELS[usize::from(number) % KERNELS.len()]), initrd]
}

/// Image `number`, as a bundle lists it.
#[must_use]
pub fn image(number: u8) -> Image {
    let authenticode = Digest::sha256(&[b's', number]);
    FirmwareLog::image(&sections(number), authenticode, Digest::sha256(&content(number)))
}
