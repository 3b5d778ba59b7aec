//! The UKI against the oracle (`systemd-measure`), against itself, and what is refused.

use std::{fs, path::PathBuf, process::Command};

use super::*;
use crate::{
    lock::Lock,
    sources::{self, Archive},
};

/// systemd-stub as the lock names it.
fn stub() -> Vec<u8> {
    let lock = Lock::parse(include_str!("../../sources.lock")).unwrap();
    let package = Archive::default().fetch(lock.get("systemd-stub").unwrap(), true).unwrap();
    fs::read(sources::stub(&package).unwrap()).unwrap()
}

/// What the stub takes for a kernel; nothing boots here.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![0x90; 70_001];
    kernel[..2].copy_from_slice(b"MZ");
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel
}

fn parts() -> Parts {
    let initrd = crate::initramfs::pack(b"\x7fELF init", b"anchors").unwrap();
    Parts::new("0.1.0", kernel(), initrd)
}

fn le32(bytes: &[u8], at: usize) -> usize {
    super::le32(bytes, at).unwrap()
}

#[test]
fn pcr_11_is_what_systemd_measure_says() {
    let parts = parts();
    let folder = tempfile::tempdir().unwrap();
    let mut measure = Command::new(systemd_measure());
    measure.args(["calculate", "--bank=sha256", "--json=short"]);
    measure.arg(format!("--phase={}", casemate_formats::measure::ENTER));
    for (name, data) in parts.sections() {
        let file = folder.path().join(&name[1..]);
        fs::write(&file, data).unwrap();
        measure.arg(format!("--{}={}", &name[1..], file.display()));
    }
    let output = measure.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&format!("\"hash\":\"{}\"", parts.pcr11())), "{text}\n{}", parts.pcr11());
}

fn systemd_measure() -> PathBuf {
    ["/lib/systemd/systemd-measure", "/usr/lib/systemd/systemd-measure", "/usr/bin/systemd-measure"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("systemd-measure is missing: `image/prepare` installs its package")
}

#[test]
fn the_sections_of_a_uki_measure_to_the_predicted_pcr_11() {
    let uki = assemble(&stub(), &parts()).unwrap();
    let found = sections(&uki).unwrap();
    let found: Vec<(&str, &[u8])> = found.iter().map(|(n, d)| (n.as_str(), *d)).collect();
    let pcr = measure::phase(measure::uki_pcr11(&found), measure::ENTER);
    assert_eq!(pcr, parts().pcr11());
}

#[test]
fn two_builds_of_the_same_parts_are_the_same_bytes() {
    assert_eq!(assemble(&stub(), &parts()).unwrap(), assemble(&stub(), &parts()).unwrap());
}

#[test]
fn one_other_byte_in_a_section_is_another_pcr_11() {
    let mut other = parts();
    *other.initrd.last_mut().unwrap() ^= 1;
    assert_ne!(other.pcr11(), parts().pcr11());
}

#[test]
fn the_headers_are_those_of_a_pe_without_symbols() {
    let uki = assemble(&stub(), &parts()).unwrap();
    let pe = le32(&uki, 0x3c);
    assert_eq!(le32(&uki, pe + 12), 0, "symbol table");
    assert_eq!(le32(&uki, pe + 16), 0, "symbols");
    let (count, table) = (usize::from(uki[pe + 6]), pe + 24 + usize::from(uki[pe + 20]));
    assert_eq!(count, 12);
    let (mut raw_end, mut virtual_end) = (0, 0);
    for at in (table..).step_by(SECTION_HEADER).take(count) {
        let (size, address) = (le32(&uki, at + 8), le32(&uki, at + 12));
        let (raw, raw_at) = (le32(&uki, at + 16), le32(&uki, at + 20));
        assert!(address >= virtual_end && raw_at >= raw_end, "sections overlap");
        assert!(raw_at % 0x200 == 0 && raw >= size.min(raw));
        (raw_end, virtual_end) = (raw_at + raw, address + size);
    }
    assert_eq!(raw_end, uki.len());
    assert_eq!(le32(&uki, pe + 24 + 56), virtual_end.next_multiple_of(0x1000), "SizeOfImage");
}

#[test]
fn the_command_line_is_one_line_of_options() {
    let line = cmdline();
    assert!(line.starts_with("console=ttyS0,115200n8 "), "{line}");
    assert!(!line.contains("  ") && !line.contains('#') && !line.contains('\n'), "{line}");
}

#[test]
fn what_the_stub_could_not_start_is_refused() {
    let (stub, good) = (stub(), parts());
    let refusal = |change: fn(&mut Parts)| {
        let mut bad = good.clone();
        change(&mut bad);
        assemble(&stub, &bad).unwrap_err()
    };
    assert_eq!(refusal(|p| p.linux.clear()), UkiError::Kernel("no boot header"));
    assert_eq!(refusal(|p| p.linux[0x202] = 0), UkiError::Kernel("no boot header"));
    assert_eq!(refusal(|p| p.linux[0] = 0), UkiError::Kernel("no EFI stub"));
    assert_eq!(refusal(|p| p.initrd.clear()), UkiError::Initrd);
    assert_eq!(refusal(|p| p.initrd[0] = 0x1f), UkiError::Initrd);
    assert_eq!(refusal(|p| p.cmdline.clear()), UkiError::Cmdline);
    assert_eq!(refusal(|p| p.cmdline.push(b'\n')), UkiError::Cmdline);
}

#[test]
fn another_stub_or_a_damaged_one_is_refused() {
    let (stub, parts) = (stub(), parts());
    let version = stub.windows(16).position(|w| w == b"systemd-stub 252").unwrap();
    let mut newer = stub.clone();
    newer[version..version + 16].copy_from_slice(b"systemd-stub 257");
    assert_eq!(assemble(&newer, &parts), Err(UkiError::Stub("another version")));
    assert!(matches!(assemble(&stub[..0x300], &parts), Err(UkiError::Stub(_))));
    assert!(matches!(assemble(&stub[..0x1000], &parts), Err(UkiError::Stub(_))));
    assert!(matches!(assemble(b"", &parts), Err(UkiError::Stub(_))));
    assert!(matches!(assemble(&kernel(), &parts), Err(UkiError::Stub(_))));
    let twice = assemble(&stub, &parts).unwrap();
    assert_eq!(assemble(&twice, &parts), Err(UkiError::Headers));
}
