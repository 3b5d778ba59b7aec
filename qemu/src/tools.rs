//! The project's own commands, run as a person would type them: `casemate`, `image`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Where the built tools lie.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Beside the running program: cargo's folder of binaries (tests run in its `deps/`).
    ///
    /// # Errors
    /// They are not built.
    pub fn find() -> Result<Self> {
        let program = std::env::current_exe()?;
        let folder =
            program
                .ancestors()
                .skip(1)
                .find(|folder| folder.join("casemate").is_file())
                .context("expected the tools beside this program; next: cargo build --workspace")?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where they lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `casemate …`
    #[must_use]
    pub fn casemate(&self) -> Command {
        Command::new(self.folder.join("casemate"))
    }

    /// `cargo image …`
    #[must_use]
    pub fn image(&self) -> Command {
        Command::new(self.folder.join("casemate-image"))
    }
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// It fails; its words and the command line are in the error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{shown}: does not start"))?;
    if !done.status.success() {
        bail!(
            "{shown}: {}\n{}{}",
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// As [`output`], but what it says on standard error while it runs is shown.
///
/// # Errors
/// It fails; it has said why.
pub fn shown_output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{shown}: does not start"))?;
    if !done.status.success() {
        bail!("{shown}: {}\n{}", done.status, String::from_utf8_lossy(&done.stdout));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a command that must be refused (exit code 1) and gives what it said on standard error.
///
/// # Errors
/// It succeeds, or ends otherwise.
pub fn refused(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.code() {
        Some(1) => Ok(said),
        other => bail!("{shown}: expected a refusal (exit code 1), found {other:?}\n{said}"),
    }
}

/// The command line as a person would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned();
    let name = name.replace("casemate-image", "cargo image");
    command.get_args().fold(name, |line, argument| {
        let argument = argument.to_string_lossy();
        if argument.contains(' ') {
            format!("{line} '{argument}'")
        } else {
            format!("{line} {argument}")
        }
    })
}
