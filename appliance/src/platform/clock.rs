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
#[derive(Clone, Debug, Default)]
pub struct Clock {
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
    /// A clock without a floor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the floor (Unix seconds). A bundle may lower it again, so this is not a maximum.
    pub fn set_floor(&self, unix: u64) {
        self.floor.store(unix, Ordering::Relaxed);
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        // A machine whose clock stands before 1970 has no believable one.
        let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.judge(system)
    }

    fn judge(&self, system: u64) -> Now {
        let floor = self.floor.load(Ordering::Relaxed);
        Now { unix: system.max(floor), believable: system > 0 && system >= floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_below_its_floor_is_not_believed_and_stands_at_the_floor() {
        let clock = Clock::new();
        clock.set_floor(1_000);
        assert_eq!(clock.judge(999), Now { unix: 1_000, believable: false });
        assert_eq!(clock.judge(1_000), Now { unix: 1_000, believable: true });
    }

    #[test]
    fn a_floor_can_be_lowered_and_clones_share_it() {
        let clock = Clock::new();
        let other = clock.clone();
        clock.set_floor(2_000);
        other.set_floor(500);
        assert!(clock.judge(600).believable);
    }
}
