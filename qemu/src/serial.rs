//! The serial console of a machine, read from QEMU's log file while it grows.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// A console log, and how far it has been looked at.
pub struct Serial {
    path: PathBuf,
    offset: usize,
}

impl Serial {
    /// A console whose log file is `path` (it may not exist yet).
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0 }
    }

    /// All text so far, terminal controls removed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.path) {
            let _ = file.read_to_end(&mut bytes);
        }
        printable(&bytes)
    }

    /// Waits for a line that contains `word` after everything waited for before; gives that line.
    ///
    /// # Errors
    /// It does not come within `limit`; the last lines are in the error.
    pub fn wait(&mut self, word: &str, limit: Duration) -> Result<String> {
        self.wait_any(&[word], limit)
    }

    /// As [`Self::wait`], for the first line that contains any of `words`.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_any(&mut self, words: &[&str], limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let text = self.text();
            let fresh = text.get(self.offset..).unwrap_or_default();
            let mut start = 0;
            for line in fresh.split_inclusive('\n') {
                start += line.len();
                if line.ends_with('\n') && words.iter().any(|w| line.contains(w)) {
                    self.offset += start;
                    return Ok(line.trim_end().to_owned());
                }
            }
            if Instant::now() >= end {
                bail!(
                    "expected {} on the console within {} s (is this machine busy?); its last lines:\n{}",
                    words.join(" or "),
                    limit.as_secs(),
                    tail(&text, 25)
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Forgets what has been printed up to now: later waits look at newer lines alone.
    pub fn skip(&mut self) {
        self.offset = self.text().len();
    }

    /// Size of the raw log in bytes.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        File::open(&self.path).and_then(|mut f| f.seek(SeekFrom::End(0))).unwrap_or(0)
    }
}

/// The last `count` lines.
#[must_use]
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Removes escape sequences (ECMA-48 CSI) and carriage returns that firmware and kernel print.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_do_not_hide_a_line() {
        assert_eq!(printable(b"\x1b[2J\x1b[01;01Hphase\r\n"), "phase\n");
    }
}
