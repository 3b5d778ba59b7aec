//! The crash sector as the panic hook meets it: everything is encoded beforehand, it only writes.

use std::sync::Arc;

use casemate_formats::state::{Crash, CrashSector, crash::WINDOW_S, header::CRASH};

use super::Blocks;

/// What the panic hook holds: the sector as it will be after a panic, encoded beforehand, so that the
/// hook only writes.
pub struct Marker {
    blocks: Arc<dyn Blocks>,
    within: Vec<u8>,
    later: Vec<u8>,
}

impl Marker {
    pub(super) fn new(blocks: Arc<dyn Blocks>, now: CrashSector) -> Self {
        let within = now.after(Crash::Panic, 0).encode();
        let later = now.after(Crash::Panic, WINDOW_S + 1).encode();
        Self { blocks, within, later }
    }

    /// Counts this panic; an error is dropped, since the machine is about to reboot.
    pub fn panicked(&self, uptime_s: u64) {
        let unit = if uptime_s <= WINDOW_S { &self.within } else { &self.later };
        let _ = self.blocks.write(CRASH, unit);
    }
}
