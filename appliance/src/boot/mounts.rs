//! First steps: the kernel's file systems, console, watchdog, anchors.

use std::{
    fs,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use casemate_formats::anchors::Anchors;
use nix::mount::{MsFlags, mount};

use super::{Refusal, Stop, crash};
use crate::{
    platform::{
        console::{Word, say},
        watchdog::{self, Watchdog},
    },
    pulse,
};

/// Where the initramfs has them.
const ANCHORS: &str = "/anchors";
const WATCHDOG: &str = "/dev/watchdog";
/// Messages below "error" stay in the kernel's ring: the console is the operator's.
const PRINTK: (&str, &str) = ("/proc/sys/kernel/printk", "4");

/// Seconds after which a kernel that has panicked starts the machine again (the image says: at once).
const PANIC: &str = "/proc/sys/kernel/panic";

static STARTED: OnceLock<Instant> = OnceLock::new();

/// The kernel's file systems are there, the watchdog runs, and it is known whose image this is.
pub struct Mounted {
    pub(super) anchors: Anchors,
    pub(super) watchdog: Option<Watchdog>,
}

/// Time since PID 1 was started.
#[must_use]
pub fn since_start() -> Duration {
    STARTED.get_or_init(Instant::now).elapsed()
}

impl Mounted {
    /// The first step.
    ///
    /// # Errors
    /// `mount`, `anchors`.
    pub fn begin() -> Result<Self, Stop> {
        let _ = STARTED.set(Instant::now());
        mount_all()?;
        let _ = fs::write(PRINTK.0, PRINTK.1);
        say(Word::Start, format_args!("Casemate {}", env!("CARGO_PKG_VERSION")));
        crash::install_hook();
        pulse::BOOT.waits();
        let watchdog = watchdog::start(Path::new(WATCHDOG));
        match &watchdog {
            Some(watchdog) => {
                // The watchdog resets a machine whose kernel has panicked, and says so at the next boot,
                // which counts it. Only if it does not, the kernel starts the machine itself.
                let _ = fs::write(PANIC, (2 * watchdog::TIMEOUT_SECONDS).to_string());
                say(Word::Watchdog, format_args!("{} s", watchdog.timeout));
            }
            None => say(Word::Watchdog, "none: a machine that stands still as a whole stays so"),
        }
        let anchors = fs::read(ANCHORS).map_err(|e| Refusal::Anchors(e.to_string()))?;
        let anchors = Anchors::decode(&anchors).map_err(|e| Refusal::Anchors(e.to_string()))?;
        close_root();
        Ok(Self { anchors, watchdog })
    }
}

fn mount_all() -> Result<(), Refusal> {
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let devices = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let table = [
        ("/proc", "proc", closed),
        ("/sys", "sysfs", closed),
        ("/dev", "devtmpfs", devices),
        ("/sys/kernel/security", "securityfs", closed),
    ];
    for (path, kind, flags) in table {
        let _ = fs::create_dir(path);
        mount(Some(kind), path, Some(kind), flags, None::<&str>)
            .map_err(|cause| Refusal::Mount { path, cause: cause.into() })?;
    }
    Ok(())
}

/// Nothing is written to the initramfs any more, nothing in it is started or opened as a device.
fn close_root() {
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    let _ = mount(None::<&str>, "/", None::<&str>, flags, None::<&str>);
}
