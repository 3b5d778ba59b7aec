//! Builds the firmware: one static binary, `/init` of the image, against the TSS prefix that has the
//! device TCTI alone; in a target folder of its own, without this machine's paths in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::run::say;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds `init` in `target` (usually `target/firmware`), and gives its path.
///
/// # Errors
/// cargo fails; it has said why.
pub fn build(root: &Path, prefix: &Path, target: &Path, locked: bool) -> Result<PathBuf> {
    say("firmware", "building init (2-4 minutes from nothing, half a minute after a change)");
    let home = cargo_home()?;
    let remaps = [(&home, "/cargo"), (&root.to_path_buf(), "/casemate")];
    let mut flags: Vec<String> = remaps
        .iter()
        .map(|(from, to)| format!("\"--remap-path-prefix={}={to}\"", from.display()))
        .collect();
    let mut c_flags: Vec<String> = remaps
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    // A panic ends PID 1, nothing unwinds: the tables for it would be a tenth of the binary.
    flags.push("\"-Cforce-unwind-tables=no\"".to_owned());
    c_flags.extend(["-fno-unwind-tables", "-fno-asynchronous-unwind-tables"].map(str::to_owned));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "firmware", "-p", "casemate-appliance"])
        .args(["--bin", "init", "--target", TARGET, "--target-dir"])
        .arg(target)
        // Joined to the flags of .cargo/config.toml, not instead of them.
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags=[{}]", flags.join(",")))
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .env("CFLAGS", c_flags.join(" "))
        // The kernel's generator, which PID 1 waits for and mixes the TPM's randomness into, is the
        // one seed. Timing jitter as another costs 0.6 s of a boot without KVM.
        .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if locked {
        cargo.arg("--locked");
    }
    let status = cargo.status().context("could not run cargo")?;
    anyhow::ensure!(status.success(), "building the firmware failed; cargo said why above");
    let init = target.join(TARGET).join("firmware/init");
    fs::metadata(&init).with_context(|| format!("expected {} after the build", init.display()))?;
    Ok(init)
}

fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => {
            Ok(PathBuf::from(std::env::var_os("HOME").context("expected HOME")?).join(".cargo"))
        }
    }
}
