//! Reboot and power-off. PID 1 does nothing else: it splits off the process that is the appliance, waits for
//! its end, and starts the machine again or switches it off. So no thread of the appliance can do either by
//! itself, nothing that ends it (a panic, a signal, the want of memory) leaves a machine that only stands
//! there, and **what stood in its memory is gone first**: the kernel clears every page that an ending process
//! gives back (`init_on_free`), locked or not, with no thread of it left; only then PID 1 is told of the end.

use std::convert::Infallible;

use nix::{
    errno::Errno,
    sys::{
        reboot::{RebootMode, reboot as system_reboot},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    console::{Word, say},
    raw, watchdog,
};

/// How the appliance ends when the machine is to start again, or go off. Any other end is a reboot too.
const REBOOT: i32 = 0;
const POWER_OFF: i32 = 1;

/// PID 1 from now on: runs `appliance` as a process of its own, and never comes back.
pub fn keep(appliance: impl FnOnce() -> Infallible) -> ! {
    let mode = match raw::fork(|| {
        appliance();
    }) {
        Ok(appliance) => end_of(appliance),
        Err(error) => {
            say(Word::Reboot, format_args!("there is no process for the appliance: {error}"));
            RebootMode::RB_AUTOBOOT
        }
    };
    let _ = system_reboot(mode);
    // Not reached. PID 1's end is the kernel's panic, which is a reboot as well.
    std::process::abort()
}

/// Starts the machine again.
pub fn reboot(why: &str) -> ! {
    say(Word::Reboot, why);
    leave(REBOOT)
}

/// Switches the machine off.
pub fn power_off(why: &str) -> ! {
    say(Word::PowerOff, why);
    leave(POWER_OFF)
}

fn leave(how: i32) -> ! {
    // An end that hangs (a thread that waits for a dead disk) is the watchdog's.
    watchdog::stop_feeding();
    raw::exit(how)
}

/// Waits for the end of the appliance: what the machine is to do.
fn end_of(appliance: Pid) -> RebootMode {
    loop {
        match waitpid(appliance, None) {
            Ok(WaitStatus::Exited(_, POWER_OFF)) => return RebootMode::RB_POWER_OFF,
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                say(Word::Panic, format_args!("the appliance was ended by {signal}"));
                // Nobody has counted this. PID 1 ends, the kernel panics, and the watchdog, which is not
                // fed any more, resets the machine and says so at the next boot.
                std::process::abort()
            }
            Err(Errno::EINTR) => {}
            _ => return RebootMode::RB_AUTOBOOT,
        }
    }
}
