//! The house itself: the firmware's crate tree is counted, files say what they answer for, and rooms
//! depend on each other in one direction.

use std::path::{Path, PathBuf};

use casemate_tests::crates::tree;

/// Crates in the firmware, its own included. A larger number is a decision: change it in the commit
/// that adds the crate, and say there why the firmware needs it.
const FIRMWARE_CRATES: usize = 110;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout").to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_firmwares_crate_tree_does_not_grow_unnoticed() {
    let crates = tree("casemate-appliance").expect("a tree");
    assert_eq!(
        crates.len(),
        FIRMWARE_CRATES,
        "the firmware's crates changed; now:\n{}",
        crates.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn the_firmware_depends_on_no_tool() {
    let crates = tree("casemate-appliance").expect("a tree");
    for tool in ["casemate-cli", "casemate-image", "casemate-qemu", "clap", "anyhow", "toml"] {
        assert!(
            !crates.iter().any(|c| c.starts_with(&format!("{tool} "))),
            "{tool} is in the firmware"
        );
    }
}

#[test]
fn formats_and_core_build_without_a_tss() {
    for package in ["casemate-formats", "casemate-core"] {
        assert!(
            !tree(package).expect("a tree").iter().any(|c| c.starts_with("tss-esapi")),
            "{package} has a TSS"
        );
    }
}

#[test]
fn every_file_opens_with_what_it_answers_for() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "the walk found the sources");
    let silent: Vec<_> = files
        .iter()
        .filter(|f| !std::fs::read_to_string(f).expect("text").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}
