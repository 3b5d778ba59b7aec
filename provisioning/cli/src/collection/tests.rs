//! A log in software, collected.

use casemate_formats::audit::checkpoint::{key, sign};

use super::*;

const ORIGIN: &str = "site/alpha/ab12";

fn note(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut frontier = Frontier::new();
    blocks.iter().for_each(|records| frontier.push(block::leaf(records)));
    let signed = Checkpoint { origin: ORIGIN.into(), size: frontier.size(), root: frontier.root() };
    sign(&signed, &key(&[7; 32])).into_bytes()
}

fn log_key() -> Digest {
    Digest(key(&[7; 32]).verifying_key().to_bytes())
}

fn blocks(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![n; 100]).collect()
}

/// Serves pages of two blocks, as a box does that has more than fits.
fn pages(all: &[Vec<u8>]) -> impl FnMut(u64) -> Result<Vec<Block>, Failure> {
    move |from| {
        let numbered = all.iter().enumerate().skip(usize::try_from(from).unwrap()).take(2);
        Ok(numbered
            .map(|(number, records)| Block { number: number as u64, records: records.clone() })
            .collect())
    }
}

fn collect(directory: &Path, all: &[Vec<u8>], note: &[u8]) -> Result<Collection, Failure> {
    let mut collection = Collection::open(directory, ORIGIN, log_key())?;
    let signed = collection.next_checkpoint(note)?;
    collection.extend(note, &signed, pages(all))?;
    Ok(collection)
}

fn code(result: Result<Collection, Failure>) -> String {
    result.map(|_| ()).unwrap_err().code().to_owned()
}

#[test]
fn a_log_is_collected_in_pages_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    for count in [1, 1, 4, 9] {
        let all = blocks(count);
        let collection = collect(directory.path(), &all, &note(&all)).unwrap();
        assert_eq!(collection.size(), u64::from(count));
    }
    let folder = directory.path().join(ORIGIN);
    let verified = Collection::verify(&folder).unwrap();
    assert_eq!((verified.size(), verified.origin()), (9, ORIGIN));
    assert_eq!(verified.block(8).unwrap(), vec![8; 100]);
}

#[test]
fn blocks_beyond_the_checkpoint_wait_for_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let all = blocks(5);
    assert_eq!(collect(directory.path(), &all, &note(&all[..3])).unwrap().size(), 3);
}

#[test]
fn a_block_that_the_tree_does_not_hold_is_refused_and_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (all, mut forged) = (blocks(4), blocks(4));
    forged[2][0] ^= 1;
    assert_eq!(code(collect(directory.path(), &forged, &note(&all))), "audit-mismatch");
    // Nothing was verified; the honest blocks can still come.
    assert_eq!(collect(directory.path(), &all, &note(&all)).unwrap().size(), 4);
}

#[test]
fn a_shorter_log_another_key_and_a_foreign_note_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let all = blocks(4);
    collect(directory.path(), &all, &note(&all)).unwrap();
    assert_eq!(code(collect(directory.path(), &all, &note(&all[..3]))), "audit-shrunk");
    assert_eq!(code(Collection::open(directory.path(), ORIGIN, Digest([1; 32]))), "audit-key");
    let mut signed = note(&all);
    let last = signed.len() - 5;
    signed[last] = if signed[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(code(collect(directory.path(), &all, &signed)), "audit-mismatch");
    assert_eq!(code(collect(directory.path(), &all, b"\xff\xff")), "audit-mismatch");
}

#[test]
fn a_box_that_stops_short_of_its_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let all = blocks(4);
    assert_eq!(code(collect(directory.path(), &all[..3], &note(&all))), "audit-mismatch");
}

#[test]
fn a_changed_file_is_found_when_the_folder_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let all = blocks(4);
    collect(directory.path(), &all, &note(&all)).unwrap();
    let folder = directory.path().join(ORIGIN);
    let file = folder.join("blocks/00000001.block");
    fs::write(&file, [9; 100]).unwrap();
    assert_eq!(code(Collection::verify(&folder)), "audit-mismatch");
    assert_eq!(code(Collection::open(directory.path(), ORIGIN, log_key())), "audit-mismatch");
    fs::remove_file(&file).unwrap();
    assert_eq!(code(Collection::verify(&folder)), "file");
}

#[test]
fn an_origin_cannot_leave_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    for origin in ["../a/b", "a/b", "a//b", "a/b/c/d", "/a/b", "a/./b"] {
        assert_eq!(
            code(Collection::open(directory.path(), origin, log_key())),
            "audit-origin",
            "{origin}"
        );
    }
}
