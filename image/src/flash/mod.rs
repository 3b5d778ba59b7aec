//! `cargo image flash`: an appliance's whole disk onto a device or into a file. Everything that can be
//! wrong is found before the first byte is written; then a person names the disk; then it is written,
//! and read back from the device itself.

pub mod bundle;
mod progress;
pub mod target;

use std::{
    fs::{self, File},
    io::{IsTerminal as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use casemate_formats::digest::Digest;
use nix::{errno::Errno, fcntl::PosixFadviseAdvice, libc};

use self::{
    progress::Progress,
    target::{Roots, Target},
};
use crate::{
    disk::{self, Layout},
    manifest,
    run::say,
    sign::{self, ESP, MANIFEST},
};

/// Bytes that are written or compared at once.
const CHUNK: usize = 4 << 20;
/// What O_DIRECT wants of a buffer's address.
const ALIGN: usize = 4096;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where `sign` put its products.
    pub dir: PathBuf,
    /// The disk or file.
    pub to: PathBuf,
    /// A signed bundle for `state`.
    pub bundle: Option<PathBuf>,
    /// What is to be erased, as the refusal without it says: serial number or bytes.
    pub erase: Option<String>,
    /// Size of `state` in a new file.
    pub state_bytes: u64,
}

/// Does it; gives what was written and checked, line by line.
///
/// # Errors
/// The first thing that is wrong; nothing was written unless the error says so.
pub fn flash(order: &Order) -> Result<Vec<String>> {
    let manifest = manifest::read(&order.dir.join(MANIFEST))?;
    let esp = fs::read(order.dir.join(ESP)).context("run `cargo image sign` first")?;
    let expected = manifest.signed.as_ref().context("run `cargo image sign` first")?.esp.sha256;
    let found = Digest::sha256(&esp);
    ensure!(found == expected, "expected an ESP of sha256 {expected}, found {found}: sign again");
    let mut lines = Vec::new();
    let envelope = order.bundle.as_deref().map(|path| {
        let envelope = fs::read(path)
            .with_context(|| format!("expected a signed bundle at {}", path.display()))?;
        let verified = bundle::check(&envelope, &disk::uki_of(&esp)?, &manifest)?;
        lines.push(format!("bundle: seq {}", verified.bundle().site.seq));
        lines.extend(bundle::addresses(&verified));
        Ok::<_, anyhow::Error>(envelope)
    });
    let envelope = envelope.transpose()?;
    let target = target::look(&order.to, Roots { sys: "/sys".as_ref(), proc: "/proc".as_ref() })?;
    consent(&target, order)?;
    let mut device = open(&target, order)?;
    let total = device.seek(SeekFrom::End(0))?;
    let layout = Layout::of(total)?;
    let state = match &envelope {
        Some(envelope) => bundle::with_bundle(layout.state_bytes(), envelope)?,
        None => bundle::blank(),
    };
    write(&mut device, &layout, &esp, &state)
        .with_context(|| format!("{} is half written: flash it again", order.to.display()))?;
    drop(device);
    let checked = sign::verify(&order.to, &manifest, None)?;
    lines.extend(checked);
    lines.push(format!("state: {} MiB to the end of the disk", layout.state_bytes() >> 20));
    Ok(lines)
}

/// What a person names to say that it shall be lost: what tells this disk from others.
fn designation(target: &Target) -> Option<String> {
    match target {
        Target::New => None,
        Target::File(bytes) => Some(bytes.to_string()),
        Target::Disk(disk) if disk.serial.is_empty() => Some(disk.bytes.to_string()),
        Target::Disk(disk) => Some(disk.serial.clone()),
    }
}

fn describe(target: &Target, to: &Path) -> String {
    let Target::Disk(disk) = target else { return format!("the file {}", to.display()) };
    let or =
        |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    format!(
        "{} ({}, serial {}, {} bytes = {} GB, partitions: {})",
        disk.name,
        or(&disk.model, "no model"),
        or(&disk.serial, "none"),
        disk.bytes,
        disk.bytes / 1_000_000_000,
        or(&disk.partitions.join(" "), "none"),
    )
}

fn consent(target: &Target, order: &Order) -> Result<()> {
    let Some(designation) = designation(target) else { return Ok(()) };
    let what = describe(target, &order.to);
    let named = match &order.erase {
        Some(named) => named.clone(),
        None if std::io::stdin().is_terminal() => {
            eprint!("Everything on {what} will be lost.\nType {designation} to go on: ");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        }
        None => bail!(
            "not-confirmed: everything on {what} will be lost: say so with --erase {designation}"
        ),
    };
    ensure!(
        named == designation,
        "another-disk: expected {designation} for {what}, found {named}: nothing was written"
    );
    Ok(())
}

/// Opens it exclusively: for a disk the kernel then refuses whatever else uses it, and so do we.
fn open(target: &Target, order: &Order) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    match target {
        Target::New => {
            let file = options.create_new(true).open(&order.to)?;
            file.set_len(disk::total_bytes(order.state_bytes))?;
            Ok(file)
        }
        Target::File(_) => Ok(options.open(&order.to)?),
        Target::Disk(disk) => options.custom_flags(libc::O_EXCL).open(&order.to).map_err(|error| {
            if error.raw_os_error() == Some(Errno::EBUSY as i32) {
                anyhow::anyhow!("in-use: the kernel says that {} is in use", disk.name)
            } else {
                anyhow::Error::from(error).context(format!("cannot open {}", order.to.display()))
            }
        }),
    }
}

fn write(device: &mut File, layout: &Layout, esp: &[u8], state: &[u8]) -> Result<()> {
    let places = layout.places(esp, state);
    let bytes: u64 = places.iter().map(|(_, content)| content.len() as u64).sum();
    let mut progress = Progress::new(2 * bytes);
    say("flash", "writing ESP A, ESP B and state, then reading them back (10-60 s)");
    layout.write_table(device)?;
    for (at, content) in &places {
        device.seek(SeekFrom::Start(*at))?;
        for chunk in content.chunks(CHUNK) {
            device.write_all(chunk)?;
            progress.more(chunk.len() as u64, "written");
        }
    }
    device.sync_all()?;
    read_back(device, layout, &places, &mut progress)
}

/// Compares what the device gives, not what the kernel remembers: through O_DIRECT, or where a file
/// system has none, after its pages were dropped.
fn read_back(
    device: &mut File,
    layout: &Layout,
    places: &[(u64, &[u8])],
    progress: &mut Progress,
) -> Result<()> {
    let _ = nix::fcntl::posix_fadvise(&*device, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    layout.check_table(device)?;
    let own = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(device)));
    let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(own);
    let source = direct.as_ref().unwrap_or(device);
    let mut buffer = vec![0; CHUNK + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN);
    for (at, content) in places {
        for (number, chunk) in content.chunks(CHUNK).enumerate() {
            let at = at + (number * CHUNK) as u64;
            let read = &mut buffer[start..start + chunk.len()];
            source.read_exact_at(read, at)?;
            ensure!(
                read == chunk,
                "read-back: what was written at byte {at} does not read back: the disk is broken"
            );
            progress.more(chunk.len() as u64, "read back");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
