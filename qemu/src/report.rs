//! What a long story shows while it runs: numbered steps, how long such a step takes, and the commands
//! as a person would type them.

use std::{
    io::{IsTerminal as _, Write as _},
    process::Command,
    time::Instant,
};

use crate::tools;

/// Steps on standard output.
pub struct Report {
    total: usize,
    done: usize,
    since: Option<Instant>,
}

impl Report {
    /// A story of `total` steps; 0: nobody knows how many.
    #[must_use]
    pub const fn new(total: usize) -> Self {
        Self { total, done: 0, since: None }
    }

    /// Begins the next step; `usually` says how long it takes.
    pub fn step(&mut self, what: &str, usually: &str) {
        self.end();
        self.done += 1;
        let number = match self.total {
            0 => String::new(),
            total => format!("[{}/{total}] ", self.done),
        };
        let bold =
            if std::io::stdout().is_terminal() { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        println!("\n{}{number}{what}{} (usually {usually})", bold.0, bold.1);
        let _ = std::io::stdout().flush();
        self.since = Some(Instant::now());
    }

    /// A command that is about to run.
    #[allow(clippy::unused_self)]
    pub fn command(&self, command: &Command) {
        println!("  $ {}", tools::shown(command));
    }

    /// Something seen.
    #[allow(clippy::unused_self)]
    pub fn seen(&self, text: impl std::fmt::Display) {
        println!("    {text}");
    }

    /// Ends the running step.
    pub fn end(&mut self) {
        if let Some(since) = self.since.take() {
            println!("    done in {:.1} s", since.elapsed().as_secs_f64());
        }
    }
}

/// How many whole steps of `unit` lie in `value`.
#[must_use]
pub fn steps(value: f64, unit: f64) -> usize {
    (0..1000).take_while(|n| f64::from(*n + 1) * unit <= value).count()
}
