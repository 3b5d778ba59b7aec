//! How far the writing is: one line that is rewritten on a terminal, a few lines elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};

/// Where nobody looks, a line for each of these.
const QUARTERS: u64 = 4;

/// Counts bytes.
pub struct Progress {
    total: u64,
    done: u64,
    shown: u64,
    terminal: bool,
}

impl Progress {
    /// Of so many bytes, written and read back.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Self { total: total.max(1), done: 0, shown: 0, terminal: stderr().is_terminal() }
    }

    /// So many more.
    pub fn more(&mut self, bytes: u64, what: &str) {
        self.done += bytes;
        let steps = if self.terminal { 100 } else { QUARTERS };
        let step = self.done * steps / self.total;
        if step == self.shown {
            return;
        }
        self.shown = step;
        let percent = self.done * 100 / self.total;
        let end = match (self.terminal, self.done >= self.total) {
            (true, false) => "\r",
            _ => "\n",
        };
        let _ = write!(stderr(), "image: flash: {percent:3} %  {what:24}{end}");
    }
}
