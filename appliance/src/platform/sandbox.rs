//! What the serving threads give up before the port opens. Threads that were started earlier keep
//! what their one job needs: network (addresses), the TPM's owner, the log's writer.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::raw;

/// Highest capability number that is asked for; the kernel says where its own list ends.
const CAPABILITIES: u32 = 64;

/// Lets the process open as many files as the kernel allows it (4,096): a connection is one each.
///
/// # Errors
/// The kernel's.
pub fn raise_file_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Drops every capability of the calling thread and of those that it starts later, forbids new
/// privileges, and closes the process to debuggers.
///
/// # Errors
/// The kernel's: the port must not be opened then.
pub fn enter() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    for capability in 0..CAPABILITIES {
        if !raw::drop_bounding(capability)? {
            break;
        }
    }
    raw::drop_capabilities()
}
