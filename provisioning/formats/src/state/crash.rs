//! The crash sector: panics of PID 1 and watchdog resets within ten minutes of boot, so that three of
//! them end in `Locked` and not in a loop. Power cuts never count.
//!
//! Magic (16), format u16, count u32, last u8, checksum (tagged SHA-256 of all before), zeros.

use super::sector::Kind;
use crate::digest::tagged;

/// What it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashSector {
    /// Crashes in a row, each within ten minutes of its boot.
    pub count: u32,
    /// What the last one was.
    pub last: Option<Crash>,
}

/// A crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// PID 1 panicked.
    Panic,
    /// The watchdog reset the machine.
    Watchdog,
}

/// Crashes in a row after which a boot leaves the root closed (design, section 4).
pub const LOOP: u32 = 3;
/// Seconds of a boot within which a crash counts; a boot that lived longer clears the count.
pub const WINDOW_S: u64 = 600;

const KIND: Kind = Kind {
    magic: b"casemate.crash\0\0",
    format: 1,
    checksum: |before| tagged("crash-sector", &[before]),
};

impl CrashSector {
    /// Whether this boot must leave the root closed.
    #[must_use]
    pub const fn looping(&self) -> bool {
        self.count >= LOOP
    }

    /// With one more crash, `uptime_s` after its boot.
    #[must_use]
    pub const fn after(self, crash: Crash, uptime_s: u64) -> Self {
        let count = if uptime_s <= WINDOW_S { self.count.saturating_add(1) } else { 0 };
        Self { count, last: Some(crash) }
    }

    /// The sector's unit.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let last = match self.last {
            None => 0,
            Some(Crash::Panic) => 1,
            Some(Crash::Watchdog) => 2,
        };
        KIND.encode(&[&self.count.to_be_bytes(), &[last]])
    }

    /// Reads the unit; `None`: damaged, torn or never written.
    #[must_use]
    pub fn decode(unit: &[u8]) -> Option<Self> {
        let [a, b, c, d, last] = *KIND.decode::<5>(unit)?;
        let last = match last {
            0 => None,
            1 => Some(Crash::Panic),
            2 => Some(Crash::Watchdog),
            _ => return None,
        };
        Some(Self { count: u32::from_be_bytes([a, b, c, d]), last })
    }
}
