//! A machine's disk from outside: where its partitions lie (GPT, UEFI 2.10 section 5.3), files put into
//! an ESP beside the image, bits flipped in `state`.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

/// Bytes of a logical block of our images.
const BLOCK: u64 = 512;

/// A partition's place on its disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub length: u64,
}

/// Finds the partition whose GPT name is `name`.
///
/// # Errors
/// No GPT, or no such partition.
pub fn find(disk: &Path, name: &str) -> Result<Partition> {
    let file = File::open(disk).with_context(|| format!("{}: cannot open", disk.display()))?;
    let mut header = [0; 92];
    file.read_exact_at(&mut header, BLOCK)?;
    ensure!(header.starts_with(b"EFI PART"), "{}: no GPT", disk.display());
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
    let count = u32::from_le_bytes(header[80..84].try_into().expect("4 bytes"));
    let wanted: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for index in 0..u64::from(count) {
        let mut entry = [0; 128];
        file.read_exact_at(&mut entry, number(72) * BLOCK + index * 128)?;
        let text = &entry[56..];
        if text.starts_with(&wanted) && text[wanted.len()..].iter().take(2).all(|b| *b == 0) {
            let lba =
                |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
            let first = lba(32);
            return Ok(Partition { offset: first * BLOCK, length: (lba(40) + 1 - first) * BLOCK });
        }
    }
    bail!("{}: no partition named {name}", disk.display())
}

/// Puts a host file into the FAT of partition `name`, folders made, an existing file replaced.
///
/// # Errors
/// mtools fails.
pub fn put(disk: &Path, name: &str, from: &Path, to: &str) -> Result<()> {
    let image = format!("{}@@{}", disk.display(), find(disk, name)?.offset);
    let mut folder = String::from("::");
    for part in to
        .split('/')
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .split_last()
        .map_or(&[][..], |(_, folders)| folders)
    {
        folder = format!("{folder}/{part}");
        // Fails when it exists already; the copy below tells whether it is there.
        let _ = Command::new("mmd").args(["-D", "s", "-i", &image, &folder]).output();
    }
    let copied = Command::new("mcopy")
        .args(["-D", "o", "-i", &image])
        .arg(from)
        .arg(format!("::/{to}"))
        .output()
        .context("mcopy does not start; next: ./image/prepare (installs mtools)")?;
    ensure!(copied.status.success(), "mcopy: {}", String::from_utf8_lossy(&copied.stderr));
    Ok(())
}

/// Flips the lowest bit of one byte of partition `name`.
///
/// # Errors
/// The disk cannot be written, or the partition is shorter.
pub fn flip(disk: &Path, name: &str, at: u64) -> Result<()> {
    let partition = find(disk, name)?;
    ensure!(at < partition.length, "{name} has {} bytes", partition.length);
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, partition.offset + at)?;
    byte[0] ^= 1;
    file.write_all_at(&byte, partition.offset + at)?;
    Ok(())
}

/// Writes partition `name` of another disk over the one of this disk.
///
/// # Errors
/// They differ in length, or a disk cannot be read or written.
pub fn replace(disk: &Path, name: &str, from: &Path) -> Result<()> {
    let (to, theirs) = (find(disk, name)?, find(from, name)?);
    ensure!(to.length == theirs.length, "{name}: {} bytes over {}", theirs.length, to.length);
    let mut bytes = vec![0; usize::try_from(theirs.length)?];
    File::open(from)?.read_exact_at(&mut bytes, theirs.offset)?;
    OpenOptions::new().write(true).open(disk)?.write_all_at(&bytes, to.offset)?;
    Ok(())
}
