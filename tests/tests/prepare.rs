//! `image/prepare` on machines that cannot be used: one clear sentence and exit code 2. Each machine is
//! this one with one program that says something else.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout").to_owned()
}

/// Runs `image/prepare` where each of `programs` does its script instead, with a cache of its own.
fn prepare(programs: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    for (program, script) in programs {
        let fake = folder.path().join(program);
        fs::write(&fake, format!("#!/bin/sh\n{script}\n")).expect("a program");
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let path = std::env::var("PATH").expect("a PATH");
    Command::new(checkout().join("image/prepare"))
        .args(arguments)
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("XDG_CACHE_HOME", folder.path().join("cache"))
        .output()
        .expect("bash runs")
}

/// Asserts exit code 2 and a last line that says `expected` and `found`.
fn assert_stops(output: &Output, expected: &str, found: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("prepare: "), "{said}");
    assert!(last.contains(expected) && last.contains(found), "{said}");
}

#[test]
fn another_processor_is_refused() {
    let output =
        prepare(&[("uname", "[ \"$1\" = -m ] && echo aarch64 || echo Linux")], &["--check"]);
    assert_stops(&output, "expected Linux on x86-64", "found Linux on aarch64");
}

#[test]
fn another_distribution_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let release = folder.path().join("os-release");
    fs::write(&release, "ID=fedora\nVERSION_ID=43\nPRETTY_NAME=\"Fedora 43\"\n").expect("a file");
    // A mount namespace of its own, with a user namespace where we are not root.
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /usr/lib/os-release && exec ./image/prepare --check")
        .arg(&release)
        .current_dir(checkout())
        .output()
        .expect("unshare runs");
    assert_stops(&output, "expected Debian 12 or 13", "found Fedora 43");
}

#[test]
fn a_full_disk_is_refused() {
    let script = "echo Filesystem; echo /dev/sda 100 99 1048576 99% /";
    assert_stops(&prepare(&[("df", script)], &["--check"]), "expected 12 GB free", "found 1");
}

#[test]
fn a_missing_toolchain_is_refused_and_says_how_to_get_it() {
    let output = prepare(&[("rustc", "exit 127")], &["--check"]);
    assert_stops(&output, "expected the Rust toolchain", "rustup toolchain install");
}

#[test]
fn missing_packages_are_listed_before_anything_is_installed() {
    let output = prepare(&[("dpkg-query", "exit 1")], &["--check"]);
    assert_stops(&output, "./image/prepare", "install");
    assert!(String::from_utf8_lossy(&output.stderr).contains("qemu-system-x86"));
}

#[test]
fn without_a_network_apt_is_quoted_and_nothing_goes_on() {
    let apt = "echo 'Temporary failure resolving the mirror' >&2; exit 100";
    let programs = [("dpkg-query", "exit 1"), ("apt-get", apt), ("sudo", "exec \"$@\"")];
    let output = prepare(&programs, &[]);
    assert_stops(&output, "expected Debian's archive to answer", "check network");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Temporary failure"));
}
