//! A firmware with a saboteur beside it: the real PID 1, from its own sources, and a process that was split off
//! before it and waits until the box is Operational. Then it does what the disk says, in the gap before the
//! first partition: `panic`, `hang`, `stop`, `kill`, or nothing. For tests of watchdog and crash loop.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::Duration,
};

use casemate_tests::crash::{FAULT_AT, Fault};
use nix::{
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};

#[path = "../../../appliance/src/main.rs"]
mod init;

/// The virtio disk of every machine of the tests.
const DISK: &str = "/dev/vda";
/// A thread of this name runs in a box that is Operational, and in no other.
const LOG: &str = "audit";
/// Threads that answer.
const WORKER: &str = "tokio-rt-worker";
/// A thread of the appliance panics as soon as a byte arrives here.
static PANIC: Mutex<Option<std::io::PipeReader>> = Mutex::new(None);

fn main() -> ExitCode {
    let Ok((reader, writer)) = std::io::pipe() else { return ExitCode::FAILURE };
    // SAFETY: there is one thread.
    if matches!(unsafe { fork() }, Ok(ForkResult::Child)) {
        drop(reader);
        sabotage(writer)
    }
    if let Ok(mut slot) = PANIC.lock() {
        *slot = Some(reader);
    }
    // SAFETY: the handler only starts a thread, in a process that has one.
    unsafe { nix::libc::pthread_atfork(None, None, Some(in_the_appliance)) };
    init::main()
}

/// The first fork of PID 1's own is the appliance's.
unsafe extern "C" fn in_the_appliance() {
    let Some(mut reader) = PANIC.lock().ok().and_then(|mut slot| slot.take()) else { return };
    thread::spawn(move || {
        if reader.read_exact(&mut [0]).is_ok() {
            panic!("as the disk says");
        }
    });
}

fn sabotage(mut panic: std::io::PipeWriter) -> ! {
    let appliance = loop {
        thread::sleep(Duration::from_millis(100));
        if let Some(found) = operational() {
            break found;
        }
    };
    // It has served for a while.
    thread::sleep(Duration::from_secs(4));
    match fault() {
        Some(Fault::Panic) => drop(panic.write_all(b"!")),
        Some(Fault::Hang) => {
            for (thread, name) in threads(appliance) {
                if name == WORKER {
                    let _ = ptrace::seize(thread, ptrace::Options::empty());
                    let _ = ptrace::interrupt(thread);
                }
            }
        }
        Some(Fault::Stop) => drop(kill(appliance, Signal::SIGSTOP)),
        Some(Fault::Kill) => drop(kill(appliance, Signal::SIGKILL)),
        None => {}
    }
    loop {
        // A traced thread that was ended is not gone before its tracer has seen it.
        if waitpid(None, Some(WaitPidFlag::__WALL)).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn fault() -> Option<Fault> {
    let mut bytes = [0; 16];
    File::open(DISK).ok()?.read_exact_at(&mut bytes, FAULT_AT).ok()?;
    Fault::decode(&bytes)
}

/// The process of a box that is Operational.
fn operational() -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.map(Pid::from_raw).find(|pid| threads(*pid).iter().any(|(_, name)| name == LOG))
}

fn threads(of: Pid) -> Vec<(Pid, String)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{of}/task")) else { return Vec::new() };
    let named = tasks.flatten().filter_map(|task| {
        let id = task.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((Pid::from_raw(id), name.trim().to_owned()))
    });
    named.collect()
}
