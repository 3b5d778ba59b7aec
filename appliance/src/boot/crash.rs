//! What a panic of PID 1 leaves behind: a line on the console, a count in the crash sector, a reboot.
//! And what the next boot makes of it.

use std::{
    panic,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::mounts::since_start;
use crate::{
    platform::{
        console::{Word, say},
        power,
    },
    state::{Blocks, Crash, CrashSector, State, StateError, crash::Marker},
};

/// A boot that lived this long was no crash; a little more than the sector's own window.
const QUIET: Duration = Duration::from_secs(601);
/// The thread sleeps, then writes once.
const STACK_BYTES: usize = 128 * 1024;

static MARKER: Mutex<Option<Marker>> = Mutex::new(None);

/// From now on a panic anywhere counts and reboots. Its message is not printed: it could hold what it
/// was made from; where it happened says enough.
pub(super) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        match info.location() {
            Some(place) => say(Word::Panic, format_args!("{}:{}", place.file(), place.line())),
            None => say(Word::Panic, "nowhere"),
        }
        // A panic while the marker is being replaced is not counted rather than waited for.
        if let Ok(marker) = MARKER.try_lock()
            && let Some(marker) = marker.as_ref()
        {
            marker.panicked(since_start().as_secs());
        }
        power::reboot("after a panic");
    }));
}

/// Reads the sector, counts a watchdog's reset, and keeps what the panic hook needs. After ten minutes
/// without a crash the count starts again.
pub(super) fn account(
    state: &State,
    blocks: Arc<dyn Blocks>,
    watchdog_fired: bool,
) -> Result<CrashSector, StateError> {
    let mut crash = state.crash()?.unwrap_or_else(|| {
        say(Word::Crash, "the crash sector is damaged: counted as none");
        CrashSector::default()
    });
    if watchdog_fired {
        crash = crash.after(Crash::Watchdog, 0);
        state.write_crash(&crash)?;
    }
    match (crash.count, crash.last) {
        (0, _) => {}
        (count, Some(Crash::Watchdog)) => {
            say(Word::Crash, format_args!("{count}, by the watchdog"));
        }
        (count, _) => say(Word::Crash, format_args!("{count}, by a panic")),
    }
    keep(state.crash_marker(crash));
    if crash.count > 0 {
        let forget = move || {
            thread::sleep(QUIET);
            forget(blocks);
        };
        let builder = thread::Builder::new().name("crash".into()).stack_size(STACK_BYTES);
        // Without the thread the count stays: a word too many at the next crash.
        drop(builder.spawn(forget));
    }
    Ok(crash)
}

/// This boot has lived long enough: the count starts again, on the disk and for a panic to come.
fn forget(blocks: Arc<dyn Blocks>) {
    let Ok(state) = State::open(blocks) else { return };
    if state.write_crash(&CrashSector::default()).is_ok() {
        keep(state.crash_marker(CrashSector::default()));
    }
}

fn keep(marker: Marker) {
    *MARKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(marker);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::disk::Disk;

    #[test]
    fn crashes_count_power_cuts_do_not_and_a_long_life_forgets_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = || -> Arc<dyn Blocks> {
            Arc::new(Disk::file(&folder.path().join("state"), 4096).expect("a disk"))
        };
        let boot = |fired| {
            let state = State::open(disk()).expect("state");
            account(&state, disk(), fired).expect("counted")
        };
        let panic = |uptime_s| {
            let marker = MARKER.lock().unwrap_or_else(PoisonError::into_inner);
            marker.as_ref().expect("a boot").panicked(uptime_s);
        };
        assert_eq!(boot(false).count, 0);
        for _ in 0..10 {
            assert_eq!(boot(false).count, 0, "a power cut");
        }
        panic(5);
        assert_eq!((boot(false).count, boot(false).count), (1, 1), "a power cut after a panic");
        assert_eq!(boot(true).count, 2, "the watchdog's reset");
        panic(5);
        assert!(boot(false).looping());
        assert!(boot(false).looping(), "a power cut opens nothing");
        forget(disk());
        assert_eq!(boot(false).count, 0);
        panic(5);
        assert_eq!(boot(false).count, 1, "the next one is the first again");
        panic(601);
        assert_eq!(boot(false).count, 0, "a panic after ten minutes is none of a loop");
    }
}
