//! The command line: which subcommand there is, and what a caller sees of its success or failure.
//! One file a subcommand; each turns its arguments into a printed result or a [`output::Failure`].

#![forbid(unsafe_code)]

pub mod attest;
pub mod collection;
pub mod command;
pub mod connection;
pub mod custody;
pub mod event_words;
pub mod forwarding;
pub mod output;
pub mod reach;
pub mod site;
pub mod words;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{command::Command, output::Output};

/// Provisions and watches Casemate boxes.
///
/// Every command is safe to repeat. Exit codes: 0 done, 1 refused (what was checked does not hold;
/// the message says what was expected, what was found and what to do next), 2 usage or environment
/// (a file, a tool or the network is missing).
#[derive(Debug, Parser)]
#[command(name = "casemate", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Runs one command line (program name first), printing to standard output and error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // clap: 0 for help and version, 2 for usage; a closed terminal is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.json);
    match cli.command.run(&output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_shows_examples() {
        fn check(command: &clap::Command) {
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                !leaf || help.starts_with("Examples:"),
                "`{}` has no `Examples:` in after_help",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
