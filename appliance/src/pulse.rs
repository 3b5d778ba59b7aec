//! Whether the appliance is really alive: the parts that must get on with their work for the watchdog to be
//! fed. A part says when it gets on and when it rests; whoever gives it work says that it waits.
//!
//! Time is counted in looks of the watchdog's thread, not read from a clock: a machine that stood still as a
//! whole (a paused virtual machine, a host under load) has been looked at once, and nobody hangs for that.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A part with work to do, as the watchdog sees it. Wait-free: it is called on every path of the server.
pub struct Pulse {
    what: &'static str,
    /// Looks in a row without a beat, with work to do, that are too many.
    patience: u32,
    beats: AtomicU64,
    working: AtomicBool,
}

/// The boot, until the port is open or it stands still by name: all its steps, at most three minutes on the
/// slowest TPM (65 increments of a new life) and without a DHCP server.
pub static BOOT: Pulse = Pulse::new("the boot", 36);
/// The server: its listener and the threads that answer. They beat every second.
pub static SERVER: Pulse = Pulse::new("the server", 4);
/// The TPM's owner: two minutes for one command, twice what the slowest ECC key takes on the slowest TPM that
/// is sold; a reset begins it anew.
pub static TPM: Pulse = Pulse::new("the TPM", 24);
/// The log's writer: two minutes for one write of a block. A disk's own time-outs are shorter (NVMe and AHCI:
/// 30 s and a retry); one that needs 200 ms a write is slow, and no reason.
pub static LOG: Pulse = Pulse::new("the audit log", 24);

static ALL: [&Pulse; 4] = [&BOOT, &SERVER, &TPM, &LOG];

impl Pulse {
    const fn new(what: &'static str, patience: u32) -> Self {
        Self { what, patience, beats: AtomicU64::new(0), working: AtomicBool::new(false) }
    }

    /// It is at work, and getting on.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.working.store(true, Ordering::Release);
    }

    /// Work waits for it: from now on it must get on, whether it was at work or not.
    pub fn waits(&self) {
        self.working.store(true, Ordering::Release);
    }

    /// It has nothing to do.
    pub fn rest(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.working.store(false, Ordering::Release);
    }
}

/// What the watchdog's thread has seen of every part.
#[derive(Default)]
pub struct Watch {
    seen: [(u64, u32); ALL.len()],
}

impl Watch {
    /// One look at every part; the first one that hangs, with the time since which it does.
    pub fn look(&mut self) -> Option<(&'static str, Duration)> {
        let seen = self.seen.iter_mut().zip(ALL);
        seen.filter_map(|(seen, pulse)| look(pulse, seen).then_some(pulse))
            .next()
            .map(|pulse| (pulse.what, LOOK_EVERY * pulse.patience))
    }
}

/// Whether a part hangs: `seen` has its beats at the last look, and for how many looks they are the same.
fn look(pulse: &Pulse, seen: &mut (u64, u32)) -> bool {
    let beats = pulse.beats.load(Ordering::Relaxed);
    let idle = !pulse.working.load(Ordering::Acquire);
    *seen = if idle || beats != seen.0 { (beats, 0) } else { (beats, seen.1 + 1) };
    seen.1 >= pulse.patience
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until it hangs; at most this many.
    fn looks(pulse: &Pulse, seen: &mut (u64, u32), most: usize) -> usize {
        (1..=most).find(|_| look(pulse, seen)).unwrap_or(0)
    }

    #[test]
    fn whoever_rests_never_hangs() {
        let (pulse, mut seen) = (Pulse::new("a part", 3), (0, 0));
        assert_eq!(looks(&pulse, &mut seen, 100), 0);
        pulse.beat();
        pulse.rest();
        assert_eq!(looks(&pulse, &mut seen, 100), 0);
    }

    #[test]
    fn whoever_gets_on_never_hangs_and_whoever_stops_does() {
        let (pulse, mut seen) = (Pulse::new("a part", 3), (0, 0));
        for _ in 0..100 {
            pulse.beat();
            assert!(!look(&pulse, &mut seen));
            assert!(!look(&pulse, &mut seen));
        }
        assert_eq!(looks(&pulse, &mut seen, 100), 2);
        pulse.beat();
        assert!(!look(&pulse, &mut seen), "it got on after all");
    }

    #[test]
    fn work_that_waits_for_a_part_that_has_died_at_rest_is_noticed() {
        let (pulse, mut seen) = (Pulse::new("a part", 3), (0, 0));
        pulse.beat();
        pulse.rest();
        assert!(!look(&pulse, &mut seen));
        pulse.waits();
        assert_eq!(looks(&pulse, &mut seen, 100), 3);
    }

    #[test]
    fn a_slow_disk_is_no_hang() {
        // 200 ms a write, and every block that may wait written with one commit.
        let writes = 8 * 1024 * 1024 / casemate_formats::audit::block::MAX_BYTES;
        let commit = Duration::from_millis(200) * u32::try_from(writes).expect("few");
        assert!(commit < LOOK_EVERY * LOG.patience, "{commit:?}");
    }
}
