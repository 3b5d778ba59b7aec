//! Programs started beside a box that runs in this process.

use std::{ffi::OsStr, process::Command};

/// Closes what was inherited, then becomes the program.
const SCRIPT: &str = r#"
for n in /proc/self/fd/*; do n=${n##*/}; [ "$n" -gt 2 ] && exec {n}>&-; done
exec "$@"
"#;

/// A program with none of this process's files but its standard ones. The TSS connects anew for every
/// command and does not mark its sockets: whoever is started meanwhile would keep swtpm's only line
/// busy, and a program that waits for the box would wait for ever.
#[must_use]
pub fn alone(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", SCRIPT, "alone"]).arg(program);
    command
}
