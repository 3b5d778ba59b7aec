//! The initramfs: `/init` and `/anchors`, nothing else. newc (cpio(5)), zstd; the same bytes for the
//! same two files.

use std::io;

/// zstd's level: the firmware is packed once and unpacked at each boot; higher ones gain nothing here.
const LEVEL: i32 = 19;
/// Bytes of an archive at most: the firmware has a few MiB.
const MOST: usize = 64 << 20;
/// newc's fields are padded to four bytes.
const ALIGN: usize = 4;

/// Packs the two files.
///
/// # Errors
/// zstd fails (it has no memory).
pub fn pack(init: &[u8], anchors: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(&archive(init, anchors), LEVEL)
}

/// The archive before compression.
#[must_use]
pub fn archive(init: &[u8], anchors: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    entry(&mut out, 1, "init", 0o100_755, init);
    entry(&mut out, 2, "anchors", 0o100_444, anchors);
    entry(&mut out, 0, "TRAILER!!!", 0, &[]);
    out
}

/// The anchors in an initramfs that [`pack`] made.
///
/// # Errors
/// It is another one.
pub fn anchors(initrd: &[u8]) -> io::Result<Vec<u8>> {
    let other = || io::Error::new(io::ErrorKind::InvalidData, "expected /init and /anchors");
    let archive = zstd::bulk::decompress(initrd, MOST)?;
    let mut rest = archive.as_slice();
    loop {
        // Header of 110 bytes: magic, then fields of eight hex digits.
        let field = |number: usize| {
            let digits = rest.get(6 + 8 * number..14 + 8 * number)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let size = field(6).ok_or_else(other)?;
        let name_end = 110 + field(11).filter(|length| *length > 0).ok_or_else(other)?;
        let name = rest.get(110..name_end - 1).ok_or_else(other)?;
        let start = name_end.next_multiple_of(ALIGN);
        let end = start.checked_add(size).ok_or_else(other)?;
        let data = rest.get(start..end).ok_or_else(other)?;
        match name {
            b"anchors" => return Ok(data.to_vec()),
            b"TRAILER!!!" => return Err(other()),
            _ => rest = rest.get(end.next_multiple_of(ALIGN)..).ok_or_else(other)?,
        }
    }
}

fn entry(out: &mut Vec<u8>, inode: usize, name: &str, mode: usize, data: &[u8]) {
    let links = usize::from(mode != 0);
    // Inode, mode, uid, gid, links, mtime, size, device (major, minor), rdev (major, minor), name
    // length with its NUL, checksum (0 in newc).
    let fields = [inode, mode, 0, 0, links, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(data);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Stdio};

    use super::*;

    #[test]
    fn cpio_lists_exactly_init_and_anchors() {
        let mut cpio = std::process::Command::new("cpio")
            .args(["--list", "--verbose", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive(b"\x7fELF five", b"three")).unwrap();
        let list = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 2, "{list}");
        assert!(lines[0].starts_with("-rwxr-xr-x   1 root     root            9"), "{list}");
        assert!(lines[0].ends_with(" init") && lines[1].ends_with(" anchors"), "{list}");
        assert!(lines[1].starts_with("-r--r--r--"), "{list}");
    }

    #[test]
    fn the_anchors_come_out_again_and_nothing_else_is_taken_for_them() {
        let packed = pack(b"\x7fELF five", b"three").unwrap();
        assert_eq!(anchors(&packed).unwrap(), b"three");
        for other in [&b""[..], b"not zstd", &zstd::bulk::compress(b"070701 short", 1).unwrap()] {
            assert!(anchors(other).is_err());
        }
        let whole = archive(b"init", b"three");
        for end in 0..whole.len() - 20 {
            let cut = zstd::bulk::compress(&whole[..end], 1).unwrap();
            let _ = anchors(&cut);
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_one_other_byte_gives_others() {
        let (init, anchors) = (vec![7; 100_000], vec![1; 900]);
        let once = pack(&init, &anchors).unwrap();
        assert_eq!(once, pack(&init, &anchors).unwrap());
        assert_eq!(zstd::bulk::decompress(&once, 1 << 20).unwrap(), archive(&init, &anchors));
        let mut other = init.clone();
        other[99_999] = 8;
        assert_ne!(once, pack(&other, &anchors).unwrap());
    }
}
