//! The hardware watchdog: opened early, fed by a thread of its own until the machine goes down.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::raw;

/// Longest time between feedings before the machine is reset: longer than any boot step may take,
/// the TPM's slowest command (seconds) included.
const TIMEOUT_SECONDS: i32 = 60;
/// Six chances before the time-out.
const FEED_EVERY: Duration = Duration::from_secs(10);
/// WDIOF_CARDRESET of `<linux/watchdog.h>`: the card reset the machine.
const CARD_RESET: i32 = 0x20;
/// The thread only sleeps and writes.
const STACK_BYTES: usize = 64 * 1024;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// A watchdog that is being fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Seconds until it resets the machine.
    pub timeout: i32,
    /// Whether this boot is its doing.
    pub fired: bool,
}

/// Opens the watchdog and starts to feed it; `None`: this machine has none.
#[must_use]
pub fn start(device: &Path) -> Option<Watchdog> {
    let mut file: File = OpenOptions::new().write(true).open(device).ok()?;
    let fired = raw::watchdog_boot_status(&file).is_ok_and(|status| status & CARD_RESET != 0);
    // A watchdog with a fixed time-out keeps it; ours is fed often enough for any that is sold.
    let timeout = raw::watchdog_set_timeout(&file, TIMEOUT_SECONDS).unwrap_or(0);
    thread::Builder::new()
        .name("watchdog".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            while !STOPPED.load(Ordering::Relaxed) {
                // A failed write is the watchdog's business: it will reset the machine.
                let _ = file.write_all(b"\0");
                thread::sleep(FEED_EVERY);
            }
            // Closing it without the magic letter leaves it armed; keep it open all the same.
            std::mem::forget(file);
        })
        .ok()?;
    Some(Watchdog { timeout, fired })
}

/// From now on the watchdog is left to fire: the machine is going down.
pub fn stop_feeding() {
    STOPPED.store(true, Ordering::Relaxed);
}
