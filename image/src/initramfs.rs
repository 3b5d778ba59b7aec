//! The initramfs: `/init` and `/anchors`, nothing else. newc (cpio(5)), zstd; the same bytes for the
//! same two files.

use std::io;

/// zstd's level: the firmware is packed once and unpacked at each boot; higher ones gain nothing here.
const LEVEL: i32 = 19;
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
