//! The crash sector: panics of PID 1 and watchdog resets within ten minutes of boot, so that three of
//! them end in `Locked` and not in a loop. Power cuts never count.

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
