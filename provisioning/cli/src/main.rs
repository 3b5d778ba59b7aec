//! `casemate`: the tool of ops, custodians, auditors and on-call.

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_cli::run(std::env::args_os())
}
