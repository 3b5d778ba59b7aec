//! A whole flash into files of several sizes; each refusal before a byte is written.

use std::process::Command;

use casemate_formats::{
    efi::partition::{SECTOR, STATE},
    state::{Absent, CrashSector, Geometry, Slot, UNIT, header, slot},
};
use tempfile::TempDir;

use super::*;
use crate::sign::tests::signed_for;

const ANCHORS: &[u8] = include_bytes!("../../../provisioning/formats/testdata/anchors.bin");
/// A site whose bundle is signed by the signers of its anchors, and lists another image.
const SITE: &[u8] = include_bytes!("../../../provisioning/formats/testdata/request/ovmf/anchors");
const BUNDLE: &[u8] = include_bytes!("../../../provisioning/formats/testdata/request/ovmf/bundle");

fn order(dir: &TempDir, to: &Path) -> Order {
    let (dir, to) = (dir.path().to_owned(), to.to_owned());
    Order { dir, to, bundle: None, erase: None, state_bytes: 16 << 20 }
}

fn refusal(order: &Order) -> String {
    format!("{:#}", flash(order).expect_err("refused"))
}

#[test]
fn a_new_file_becomes_a_disk_whose_state_fills_it_and_reads_back() {
    let dir = signed_for(b"\x7fELF", ANCHORS);
    let to = dir.path().join("new.img");
    let lines = flash(&order(&dir, &to)).unwrap();
    assert!(lines.iter().any(|line| line == "state: 16 MiB to the end of the disk"), "{lines:?}");
    let sgdisk = Command::new("sgdisk").arg("--verify").arg(&to).output().unwrap();
    let words = String::from_utf8_lossy(&sgdisk.stdout).into_owned();
    assert!(words.contains("No problems found"), "{words}");
}

#[test]
fn on_a_larger_disk_state_and_the_backup_table_go_to_its_end() {
    let dir = signed_for(b"\x7fELF", ANCHORS);
    let to = dir.path().join("large.img");
    let bytes = (1 << 30) + 3 * SECTOR;
    File::create(&to).unwrap().set_len(bytes).unwrap();
    let unnamed = refusal(&order(&dir, &to));
    assert!(unnamed.starts_with("not-confirmed: "), "{unnamed}");
    assert!(unnamed.ends_with(&format!("--erase {bytes}")), "{unnamed}");
    let mut order = order(&dir, &to);
    order.erase = Some("1".to_owned());
    assert!(refusal(&order).starts_with("another-disk: "));
    assert_eq!(fs::read(&to).unwrap().iter().filter(|byte| **byte != 0).count(), 0);
    order.erase = Some(bytes.to_string());
    flash(&order).unwrap();
    let layout = Layout::of(bytes).unwrap();
    let end = STATE.start * SECTOR + layout.state_bytes();
    assert!(bytes - end < (2 << 20), "state ends {} bytes before the disk", bytes - end);
    let sgdisk = Command::new("sgdisk").arg("--verify").arg(&to).output().unwrap();
    assert!(String::from_utf8_lossy(&sgdisk.stdout).contains("No problems found"));
    // Flashed again it is the same disk.
    let once = fs::read(&to).unwrap();
    flash(&order).unwrap();
    assert!(fs::read(&to).unwrap() == once);
}

#[test]
fn a_bundle_that_the_box_would_refuse_is_refused_before_anything_is_written() {
    let (dir, other) = (signed_for(b"\x7fELF", SITE), signed_for(b"\x7fELF", ANCHORS));
    let path = dir.path().join("site.bundle");
    fs::write(&path, BUNDLE).unwrap();
    let to = dir.path().join("never.img");
    let mut unlisted = order(&dir, &to);
    unlisted.bundle = Some(path.clone());
    assert!(refusal(&unlisted).starts_with("image-not-listed: "), "{}", refusal(&unlisted));
    let mut foreign = order(&other, &to);
    foreign.bundle = Some(path.clone());
    assert!(refusal(&foreign).contains("too-few-signatures"), "{}", refusal(&foreign));
    fs::write(&path, b"no bundle").unwrap();
    assert!(refusal(&unlisted).contains("malformed-bundle"), "{}", refusal(&unlisted));
    assert!(!to.exists());
}

#[test]
fn a_state_with_a_bundle_is_what_the_firmware_would_have_written() {
    let bytes = 16 << 20;
    let state = bundle::with_bundle(bytes, BUNDLE).unwrap();
    let unit = |number: u64| &state[usize::try_from(number).unwrap() * UNIT..][..UNIT];
    let geometry = Geometry::decode(unit(header::HEADER)).unwrap().unwrap();
    assert_eq!(geometry.units * UNIT as u64, bytes);
    assert_eq!(CrashSector::decode(unit(header::CRASH)), Some(CrashSector::default()));
    let place = |number: u64| {
        let first = header::FIRST_SLOT + number * slot::SLOT_UNITS;
        &state[usize::try_from(first).unwrap() * UNIT..][..slot::SLOT_BYTES]
    };
    let first = Slot::decode(place(0)).unwrap();
    assert_eq!((first.write_number, first.label, first.blob), (1, 0, None));
    assert!(first.bundle == BUNDLE);
    for other in 1..3 {
        assert_eq!(Slot::decode(place(other)), Err(Absent::Empty));
    }
    assert!(bundle::with_bundle(1 << 20, BUNDLE).is_err());
}

#[test]
fn what_does_not_read_back_is_named() {
    let dir = signed_for(b"\x7fELF", ANCHORS);
    let to = dir.path().join("broken.img");
    flash(&order(&dir, &to)).unwrap();
    let esp = fs::read(dir.path().join(ESP)).unwrap();
    let layout = Layout::of(fs::metadata(&to).unwrap().len()).unwrap();
    let blank = bundle::blank();
    let places = layout.places(&esp, &blank);
    let check = || {
        let mut device = File::options().read(true).write(true).open(&to).unwrap();
        read_back(&mut device, &layout, &places, &mut Progress::new(1)).map_err(|e| e.to_string())
    };
    assert_eq!(check(), Ok(()));
    for at in [places[1].0 + 5_000_001, places[2].0 + 4096] {
        let file = File::options().read(true).write(true).open(&to).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(check().unwrap_err().starts_with("read-back: "), "{:?}", check());
        file.write_all_at(&byte, at).unwrap();
    }
    let backup = fs::metadata(&to).unwrap().len() - 33 * SECTOR;
    let file = File::options().write(true).open(&to).unwrap();
    file.write_all_at(&[7], backup).unwrap();
    assert!(check().unwrap_err().starts_with("read-back: "));
}
