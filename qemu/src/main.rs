//! The commands behind `./qemu/demo` and the scripts beside it: each script is a link, its name the
//! subcommand.

mod command;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = command::Arguments::parse().command;
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{}: failed: {error:#}", command.name());
            ExitCode::FAILURE
        }
    }
}
