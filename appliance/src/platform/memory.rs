//! How much memory PID 1 holds: what `status` shows, and the specification promises.

use std::fs;

/// KiB of a page on x86-64.
const PAGE_KIB: u64 = 4;

/// Resident memory in KiB, from `/proc/self/statm`; 0 where that cannot be read.
#[must_use]
pub fn resident_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_KIB
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_running_program_holds_memory() {
        assert!(super::resident_kib() > 100);
    }
}
