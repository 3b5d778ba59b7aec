//! The few system calls that nix does not wrap. The only unsafe code of the firmware's own.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd as _};

use nix::{
    libc,
    unistd::{ForkResult, Pid},
};

mod ioctl {
    use nix::libc;

    nix::ioctl_read!(watchdog_boot_status, b'W', 2, libc::c_int);
    nix::ioctl_readwrite!(watchdog_set_timeout, b'W', 6, libc::c_int);
    // Declared with `long` in <linux/fs.h>; the kernel reads and writes an int.
    nix::ioctl_read!(get_flags, b'f', 1, libc::c_long);
    nix::ioctl_write_ptr!(set_flags, b'f', 2, libc::c_long);
}

/// FS_IMMUTABLE_FL of `<linux/fs.h>`.
const IMMUTABLE: libc::c_long = 0x10;

/// Why the watchdog thinks that the machine started (WDIOC_GETBOOTSTATUS).
pub fn watchdog_boot_status(watchdog: &File) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the descriptor is open for the call, and `status` is the int that this ioctl writes.
    unsafe { ioctl::watchdog_boot_status(watchdog.as_raw_fd(), &raw mut status) }?;
    Ok(status)
}

/// Sets the watchdog's time-out in seconds; gives the one that it took.
pub fn watchdog_set_timeout(watchdog: &File, seconds: i32) -> io::Result<i32> {
    let mut seconds = seconds;
    // SAFETY: the descriptor is open for the call, and `seconds` is the int that this ioctl reads
    // and writes.
    unsafe { ioctl::watchdog_set_timeout(watchdog.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}

/// Clears the immutable flag that efivarfs sets on variables it holds to be delicate.
pub fn make_mutable(file: &File) -> io::Result<()> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the descriptor is open for the call, and a long has room for the int that is written.
    unsafe { ioctl::get_flags(file.as_raw_fd(), &raw mut flags) }?;
    let flags = flags & !IMMUTABLE;
    // SAFETY: the descriptor is open for the call, and `flags` outlives it.
    unsafe { ioctl::set_flags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

/// Takes a capability out of the calling thread's bounding set; false: the kernel has no such one.
pub fn drop_bounding(capability: u32) -> io::Result<bool> {
    // SAFETY: PR_CAPBSET_DROP takes one integer and touches no memory of ours.
    let result = unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0_u64, 0_u64, 0_u64)
    };
    match result {
        0 => Ok(true),
        _ if nix::errno::Errno::last() == nix::errno::Errno::EINVAL => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Empties the calling thread's effective, permitted and inheritable sets (capset(2), version 3).
pub fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let sets = [[0_u32; 3]; 2];
    // SAFETY: version 3 reads a header of two 32-bit fields and two structures of three; both live
    // through the call and have C layout.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Splits off a process that runs `child` and nothing after it. Called while there is one thread.
pub fn fork(child: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: the caller has one thread, so no lock is held by another one, and the child may go on as
    // the parent would.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            child();
            std::process::abort()
        }
    }
}

/// Ends the process, all threads of it at once, and runs nothing more of it.
pub fn exit(code: i32) -> ! {
    // SAFETY: never comes back, so nothing that another thread or a destructor relies on is used again.
    unsafe { libc::_exit(code) }
}
