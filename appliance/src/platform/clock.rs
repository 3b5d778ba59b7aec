//! The clock: the machine's real-time clock with a floor below which it is not believed (the issue
//! time of the bundle in force, the last audit record).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A clock; clones share the floor.
#[derive(Clone)]
pub struct Clock {
    machine: Arc<dyn Fn() -> u64 + Send + Sync>,
    floor: Arc<AtomicU64>,
}

/// What the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Unix seconds, never below the floor.
    pub unix: u64,
    /// Whether the machine's own clock stands at or above the floor.
    pub believable: bool,
}

impl Clock {
    /// The machine's clock, without a floor.
    #[must_use]
    pub fn machine() -> Self {
        // A machine whose clock stands before 1970 has no believable one.
        Self::reading(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// A clock that reads its Unix seconds from here.
    #[must_use]
    pub fn reading(machine: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { machine: Arc::new(machine), floor: Arc::default() }
    }

    /// Sets the floor (Unix seconds). A bundle may lower it again, so this is not a maximum.
    pub fn set_floor(&self, unix: u64) {
        self.floor.store(unix, Ordering::Relaxed);
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        let system = (self.machine)();
        let floor = self.floor.load(Ordering::Relaxed);
        Now { unix: system.max(floor), believable: system > 0 && system >= floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_below_its_floor_is_not_believed_and_stands_at_the_floor() {
        for (machine, believable) in [(999, false), (1_000, true)] {
            let clock = Clock::reading(move || machine);
            clock.set_floor(1_000);
            assert_eq!(clock.now(), Now { unix: 1_000, believable });
        }
    }

    #[test]
    fn a_floor_can_be_lowered_and_clones_share_it() {
        let clock = Clock::reading(|| 600);
        let other = clock.clone();
        clock.set_floor(2_000);
        assert!(!other.now().believable);
        other.set_floor(500);
        assert!(clock.now().believable);
    }
}
