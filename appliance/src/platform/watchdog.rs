//! The watchdog: a thread that looks whether the appliance is really alive (`pulse`), and feeds the hardware
//! as long as it is. What hangs ends like a panic: counted, and the machine starts again. Where nobody is left
//! to look, the hardware does it, and says so at the next boot.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    console::{Word, say},
    raw,
};
use crate::pulse::{LOOK_EVERY, Watch};

/// Time without feeding after which the hardware resets the machine: six looks.
pub const TIMEOUT_SECONDS: i32 = 30;
/// WDIOF_CARDRESET of `<linux/watchdog.h>`: the card reset the machine.
const CARD_RESET: i32 = 0x20;
/// The thread looks, writes, and at most panics.
const STACK_BYTES: usize = 128 * 1024;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// A watchdog that is being fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Seconds until it resets the machine.
    pub timeout: i32,
    /// Whether this boot is its doing.
    pub fired: bool,
}

/// Starts to look, and to feed the hardware; `None`: this machine has none, and only what a thread of PID 1
/// can see ends a hang.
#[must_use]
pub fn start(device: &Path) -> Option<Watchdog> {
    let file: Option<File> = OpenOptions::new().write(true).open(device).ok();
    let watchdog = file.as_ref().map(|file| Watchdog {
        fired: raw::watchdog_boot_status(file).is_ok_and(|status| status & CARD_RESET != 0),
        // A watchdog with a fixed time-out keeps it; ours is fed often enough for any that is sold.
        timeout: raw::watchdog_set_timeout(file, TIMEOUT_SECONDS).unwrap_or(0),
    });
    let looking = thread::Builder::new()
        .name("watchdog".into())
        .stack_size(STACK_BYTES)
        .spawn(move || watch(file));
    watchdog.filter(|_| looking.is_ok())
}

/// From now on the watchdog is left to fire: the machine is going down.
pub fn stop_feeding() {
    STOPPED.store(true, Ordering::Relaxed);
}

fn watch(mut file: Option<File>) {
    let mut watch = Watch::default();
    while !STOPPED.load(Ordering::Relaxed) {
        if let Some(file) = &mut file {
            // A failed write is the watchdog's business: it will reset the machine.
            let _ = file.write_all(b"\0");
        }
        thread::sleep(LOOK_EVERY);
        if let Some((what, time)) = watch.look() {
            say(Word::Watchdog, format_args!("{what} has not got on for {} s", time.as_secs()));
            panic!("{what} hangs");
        }
    }
    // Closing it without the magic letter leaves it armed; keep it open all the same.
    std::mem::forget(file);
}
