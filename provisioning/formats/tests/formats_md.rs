//! FORMATS.md is complete and true: every golden file that it names exists, every golden file of this
//! workspace is named or belongs to one that is, and every domain tag in the code stands in it.

// Helpers here are not tests themselves, so the allowance for unwrap in tests does not reach them.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Crates whose sources may hold domain tags.
const SOURCES: [&str; 5] = [
    "appliance/src",
    "appliance/core/src",
    "image/src",
    "provisioning/cli/src",
    "provisioning/formats/src",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(workspace().join("provisioning/FORMATS.md")).unwrap()
}

/// Everything between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Tags of the table: first column, in backticks.
fn documented_tags(text: &str) -> BTreeSet<String> {
    let table = text.split("| tag `<what>` |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).map(ToOwned::to_owned).collect()
}

/// String literals that are the tag of a `tagged`, `preimage` or `derive` call, and what `fn tag` gives.
fn tags_in_code() -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    let mut sources = Vec::new();
    SOURCES.iter().for_each(|folder| files(&workspace().join(folder), &mut sources));
    for path in sources {
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for call in ["tagged(", "preimage(", "derive("] {
            for (at, _) in text.match_indices(call) {
                let before = text[..at].chars().next_back();
                let arguments = text[at + call.len()..].split(';').next().unwrap();
                // `fn tagged(`, `#[derive(`, `.preimage(` of others.
                if text[..at].ends_with("fn ") || before == Some('[') {
                    continue;
                }
                // The tag is the first argument, or the second after the secret.
                let literal = arguments.split('"').nth(1);
                let until = arguments.split('"').next().unwrap();
                let is_tag = |tag: &&str| tag.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                let literal = literal.filter(|_| until.matches(',').count() <= 1).filter(is_tag);
                tags.extend(literal.map(ToOwned::to_owned));
            }
        }
        for body in text.split("fn tag(self)").skip(1) {
            let body = body.split("\n    }\n").next().unwrap();
            tags.extend(body.split('"').skip(1).step_by(2).map(ToOwned::to_owned));
        }
    }
    tags
}

#[test]
fn every_file_that_is_named_exists() {
    let text = document();
    let named: Vec<&str> = quoted(&text).filter(|word| word.contains("testdata/")).collect();
    assert!(named.len() > 40);
    for name in named {
        assert!(workspace().join(name).is_file(), "{name} does not exist");
    }
}

#[test]
fn every_golden_file_is_named() {
    // Vectors of others and bad cases show no format of ours.
    const NOT_FORMATS: [&str; 6] =
        ["request/quote-", "request/ak-", "request/time", ".names", "efi/test.", "sshsig/"];
    let text = document();
    let named: BTreeSet<&str> = quoted(&text).collect();
    let root = fs::canonicalize(workspace()).unwrap();
    let mut found = Vec::new();
    files(&root.join("provisioning/formats/testdata"), &mut found);
    files(&root.join("appliance/core/testdata"), &mut found);
    files(&root.join("appliance/testdata"), &mut found);
    for path in found {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let other = NOT_FORMATS.iter().any(|part| name.contains(part))
            || name.ends_with("pcrs.sha256")
            || name.ends_with("matrix.v1.txt");
        assert!(other || named.contains(name.as_str()), "FORMATS.md does not show {name}");
    }
}

#[test]
fn every_domain_tag_in_the_code_is_listed_and_every_listed_one_is_used() {
    let (code, listed) = (tags_in_code(), documented_tags(&document()));
    let missing: Vec<_> = code.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&code).collect();
    assert!(missing.is_empty(), "not in FORMATS.md: {missing:?}");
    assert!(stale.is_empty(), "in no code: {stale:?}");
}

#[test]
fn every_refusal_that_is_named_has_a_code() {
    use casemate_formats::code::Code;
    let text = document();
    let part = text.split("Every refusal has a name").nth(1).unwrap();
    let part = part.split("\n\n").next().unwrap();
    for slug in quoted(part).filter(|word| !word.contains('/')) {
        assert!(Code::ALL.iter().any(|code| code.slug() == slug), "{slug} is no code");
    }
}
