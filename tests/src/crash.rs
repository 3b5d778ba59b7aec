//! Faults of a machine that runs `faulty-init` instead of the firmware: what its saboteur is told, in the gap
//! of the disk between partition table and first partition.

use std::{fs::OpenOptions, os::unix::fs::FileExt as _, path::Path};

use anyhow::Result;

/// Where the word stands: block 64; partitions begin at block 2048.
pub const FAULT_AT: u64 = 64 * 512;
/// Bytes of the word, padded with zeros: what a disk reads at once is more.
const BYTES: usize = 16;

/// What happens to a box a few seconds after it has become Operational, at every boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A thread of the appliance panics.
    Panic,
    /// The threads that answer stand still; everything else goes on.
    Hang,
    /// The whole appliance stands still.
    Stop,
    /// The appliance is killed: PID 1 ends, the kernel panics.
    Kill,
}

impl Fault {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Panic, "panic"), (Self::Hang, "hang"), (Self::Stop, "stop"), (Self::Kill, "kill")];

    /// What the disk says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = bytes.split(|byte| *byte == 0).next()?;
        Self::ALL.iter().find(|(_, name)| name.as_bytes() == word).map(|(fault, _)| *fault)
    }

    /// Tells the saboteur of a machine that is off; `None`: nothing happens.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(fault: Option<Self>, disk: &Path) -> Result<()> {
        let word = Self::ALL.iter().find(|(known, _)| Some(*known) == fault);
        let mut bytes = [0; BYTES];
        if let Some((_, word)) = word {
            bytes[..word.len()].copy_from_slice(word.as_bytes());
        }
        Ok(OpenOptions::new().write(true).open(disk)?.write_all_at(&bytes, FAULT_AT)?)
    }
}
