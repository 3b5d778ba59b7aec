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
            let Ok(state) = State::open(blocks) else { return };
            if state.write_crash(&CrashSector::default()).is_ok() {
                keep(state.crash_marker(CrashSector::default()));
            }
        };
        let builder = thread::Builder::new().name("crash".into()).stack_size(STACK_BYTES);
        // Without the thread the count stays: a word too many at the next crash.
        drop(builder.spawn(forget));
    }
    Ok(crash)
}

fn keep(marker: Marker) {
    *MARKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(marker);
}
