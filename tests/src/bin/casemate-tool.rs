//! The tool as this package's tests start it: the same command line, so that exit codes and output are
//! those that a user sees.

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_cli::run(std::env::args_os())
}
