//! Reboot and power-off. One thread keeps the capability for it; everybody else asks, so that the
//! serving threads can do without.

use std::{
    sync::{
        OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use nix::sys::reboot::{RebootMode, reboot as system_reboot};

use super::{
    console::{Word, say},
    watchdog,
};

static ASKED: OnceLock<SyncSender<RebootMode>> = OnceLock::new();

/// How long a reboot may take before PID 1 ends itself, at which the kernel panics and reboots.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the thread that may reboot. Called once, while PID 1 has all capabilities.
pub fn start() {
    let (sender, receiver) = sync_channel::<RebootMode>(1);
    if ASKED.set(sender).is_err() {
        return;
    }
    let started = thread::Builder::new().name("power".into()).spawn(move || {
        if let Ok(mode) = receiver.recv() {
            let _ = system_reboot(mode);
        }
    });
    // Without the thread, asking times out and PID 1 ends itself: still a reboot.
    drop(started);
}

/// Starts the machine again. What stands in memory stays there (THREAT-MODEL.md).
pub fn reboot(why: &str) -> ! {
    say(Word::Reboot, why);
    leave(RebootMode::RB_AUTOBOOT)
}

/// Switches the machine off.
pub fn power_off(why: &str) -> ! {
    say(Word::PowerOff, why);
    leave(RebootMode::RB_POWER_OFF)
}

fn leave(mode: RebootMode) -> ! {
    // A reboot that hangs is ended by the watchdog.
    watchdog::stop_feeding();
    match ASKED.get() {
        Some(power) if power.try_send(mode).is_ok() => thread::sleep(PATIENCE),
        _ => {
            let _ = system_reboot(mode);
        }
    }
    std::process::abort()
}
