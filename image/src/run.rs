//! Runs the tools of a build: says what is being done and how long it usually takes, keeps the output
//! in a log, and shows its end when the tool fails.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Says what is being done; to stderr, so that stdout stays for results.
pub fn say(room: &str, text: &str) {
    eprintln!("image: {room}: {text}");
}

/// A command without the caller's environment: only what makes it find programs, the network's proxy,
/// and a fixed locale, so that a build does not depend on who runs it.
#[must_use]
pub fn command(program: &str) -> Command {
    const KEPT: [&str; 7] =
        ["PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "XDG_CACHE_HOME"];
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs it to its end with all output in `log`.
///
/// # Errors
/// The program is missing (with the word on where it comes from), or fails: the log's last lines.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = File::options().create(true).append(true).open(log)?;
    let started = Instant::now();
    let status =
        command.stdout(out.try_clone()?).stderr(out).status().with_context(|| missing(&program))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(25)..].join("\n  ");
    bail!(
        "{program} failed ({status}) after {} s; the end of {}:\n  {end}",
        started.elapsed().as_secs(),
        log.display()
    );
}

/// Runs it and gives what it wrote to stdout.
///
/// # Errors
/// The program is missing or fails: its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| missing(&program))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many jobs `make` may run.
#[must_use]
pub fn jobs() -> String {
    format!("-j{}", std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
}

fn missing(program: &str) -> String {
    format!("could not run `{program}`: is it installed? `image/prepare` installs what is missing")
}
