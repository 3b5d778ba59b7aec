//! The console: what an operator needs to see, one line each, and the words that tests wait for.
//! Nothing secret and nothing that a client sent is ever printed.

use std::{
    fmt,
    io::{self, Write as _},
};

/// The word that a line starts with: `casemate: WORD text`. These words are stable; the
/// runbooks (provisioning/RUNBOOKS.md) explain them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// First line of a boot: version.
    Start,
    /// The watchdog and its time-out, or that there is none.
    Watchdog,
    /// The firmware is in set-up mode and gets the site's keys.
    SetUp,
    /// One line for each variable written in set-up mode.
    Enrolled,
    /// The running image's id: PCR 11 after `enter-casemate`, shortened.
    Image,
    /// Fingerprint of the TPM's endorsement key, which `casemate host add` asks for.
    Ek,
    /// The disk that holds `state`.
    Disk,
    /// A boot entry of the firmware was made.
    BootEntry,
    /// An image is on trial, was committed, or did not stay.
    Trial,
    /// An image comes into the other ESP, or the running one goes over it.
    Update,
    /// The last start was a crash.
    Crash,
    /// The clock, if it cannot be believed.
    Clock,
    /// Interface and address.
    Address,
    /// What keeps the network from being there.
    Network,
    /// The audit log: continued or begun.
    Log,
    /// Where this boot stands: `unprovisioned`, `locked (reason)`, `operational`.
    Phase,
    /// The port is open; how long it took since the kernel started PID 1.
    Ready,
    /// The boot stops here, by name: `casemate: refused: pcr12-not-zero`.
    Refused,
    /// What a refusal found.
    Found,
    /// What to do about it.
    Next,
    /// A panic of PID 1: where.
    Panic,
    /// The machine starts again.
    Reboot,
    /// The machine goes off.
    PowerOff,
}

impl Word {
    /// Every word, for the documentation's test.
    pub const ALL: [Self; 23] = [
        Self::Start,
        Self::Watchdog,
        Self::SetUp,
        Self::Enrolled,
        Self::Image,
        Self::Ek,
        Self::Disk,
        Self::BootEntry,
        Self::Trial,
        Self::Update,
        Self::Crash,
        Self::Clock,
        Self::Address,
        Self::Network,
        Self::Log,
        Self::Phase,
        Self::Ready,
        Self::Refused,
        Self::Found,
        Self::Next,
        Self::Panic,
        Self::Reboot,
        Self::PowerOff,
    ];

    /// As it is printed.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Watchdog => "watchdog",
            Self::SetUp => "set-up",
            Self::Enrolled => "enrolled",
            Self::Image => "image",
            Self::Ek => "ek",
            Self::Disk => "disk",
            Self::BootEntry => "boot-entry",
            Self::Trial => "trial",
            Self::Update => "update",
            Self::Crash => "crash",
            Self::Clock => "clock",
            Self::Address => "address",
            Self::Network => "network",
            Self::Log => "log",
            Self::Phase => "phase",
            Self::Ready => "ready",
            Self::Refused => "refused:",
            Self::Found => "  found:",
            Self::Next => "  next: ",
            Self::Panic => "panic",
            Self::Reboot => "reboot",
            Self::PowerOff => "power-off",
        }
    }
}

/// Prints one line, in one write; a console that does not take it is no reason to stop.
pub fn say(word: Word, text: impl fmt::Display) {
    let line = line(word, &text.to_string());
    let _ = io::stderr().write_all(line.as_bytes());
}

fn line(word: Word, text: &str) -> String {
    // Text that came from a disk or a firmware stays on its line and moves no cursor.
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("casemate: {} {clean}\r\n", word.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_broken_or_coloured_by_its_text() {
        assert_eq!(
            line(Word::Disk, "state\ncasemate: phase operational\x1b[2J"),
            "casemate: disk state?casemate: phase operational?[2J\r\n"
        );
    }

    #[test]
    fn the_runbook_explains_every_word() {
        let runbook = include_str!("../../../provisioning/RUNBOOKS.md");
        for word in Word::ALL {
            let text = word.text().trim();
            assert!(runbook.contains(&format!("`{text}`")), "{text} is not in the runbook");
        }
    }

    #[test]
    fn words_are_distinct() {
        for (at, word) in Word::ALL.iter().enumerate() {
            assert!(Word::ALL[..at].iter().all(|w| w.text() != word.text()), "{word:?}");
        }
    }
}
