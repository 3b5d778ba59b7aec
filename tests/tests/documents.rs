//! What a test can check in a document: that every test which SPECIFICATION.md and THREAT-MODEL.md
//! name is there, that promises are numbered in order, that none goes without a test or a word that it
//! is not kept yet, and that RUNBOOKS.md says of every refusal what it means, who acts and how.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use casemate_core::phase::Reason;
use casemate_formats::code::Code;

const SPECIFICATION: &str = "appliance/SPECIFICATION.md";
const THREAT_MODEL: &str = "appliance/THREAT-MODEL.md";
const RUNBOOKS: &str = "provisioning/RUNBOOKS.md";
/// How a line says that nothing holds it today.
const NOT_YET: &str = "not yet";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout").to_owned()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect(document)
}

/// Names of all functions that stand under a `#[test]` or `#[tokio::test]`.
fn tests() -> BTreeSet<String> {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in folder.read_dir().expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && path != root().join("target") && name != ".git" {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let mut after_attribute = false;
                for line in text.lines().map(str::trim) {
                    if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                        after_attribute = true;
                    } else if let Some((_, rest)) = line.split_once("fn ")
                        && after_attribute
                    {
                        let end = rest.find(['(', '<']).unwrap_or(rest.len());
                        found.insert(rest[..end].to_owned());
                        after_attribute = false;
                    }
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&root(), &mut found);
    found
}

/// Backticked words of three or more parts: the names of tests.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// The numbered lines: `| 12 | promise | held by |`.
fn promises(text: &str) -> Vec<(u32, Vec<&str>)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let number = cells.next()?.parse().ok()?;
        Some((number, cells.collect()))
    })
    .collect()
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let tests = tests();
    for document in [SPECIFICATION, THREAT_MODEL] {
        let text = read(document);
        let missing: Vec<_> = named(&text).filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
        assert!(named(&text).count() > 20, "{document} names tests");
    }
}

#[test]
fn every_promise_has_its_number_and_a_test_or_says_that_it_is_not_kept_yet() {
    let text = read(SPECIFICATION);
    let promises = promises(&text);
    assert!(promises.len() > 30, "the table was found");
    for (expected, (number, cells)) in (1..).zip(&promises) {
        assert_eq!(*number, expected, "numbers follow each other");
        let [promise, held] = cells.as_slice() else { panic!("{number}: two columns") };
        assert!(!promise.is_empty(), "{number}");
        let kept = named(held).next().is_some() || held.contains("tests/bench");
        assert!(kept || held.contains(NOT_YET), "{number}: neither a test nor \"{NOT_YET}\"");
    }
}

/// Rows of the table under a heading of the runbooks that begins so.
fn rows<'a>(runbooks: &'a str, heading: &str) -> Vec<&'a str> {
    let section = runbooks.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.and_then(|section| section.split("\n# ").next()).expect(heading);
    section.lines().filter(|line| line.starts_with("| `")).collect()
}

#[test]
fn every_reason_of_a_closed_box_has_its_row_in_the_runbooks() {
    let text = read(RUNBOOKS);
    let rows = rows(&text, "The root does not open");
    let reasons = [
        Reason::NoRoot,
        Reason::NotListed,
        Reason::NoLiveSlot,
        Reason::DoesNotOpen,
        Reason::ForeignBlob,
        Reason::RootChain,
        Reason::CrashLoop,
        Reason::NotSealed,
        Reason::Retired,
    ];
    for reason in reasons {
        let row = format!("| `{}` | ", reason.name());
        assert!(rows.iter().any(|found| found.starts_with(&row)), "{row} is not in {RUNBOOKS}");
    }
    assert_eq!(rows.len(), reasons.len());
}

#[test]
fn every_refusal_of_the_api_has_its_row_in_the_runbooks() {
    let text = read(RUNBOOKS);
    let rows = rows(&text, "What is refused");
    let expected = Code::ALL.iter().map(|code| {
        let (who, todo) = (code.who_acts().name(), code.what_to_do());
        format!("| `{code}` | {} | {who}: {todo} |", code.title())
    });
    let expected: Vec<_> = expected.collect();
    let missing: Vec<_> = expected.iter().filter(|row| !rows.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "{RUNBOOKS} lacks these rows: {missing:#?}");
    assert_eq!(rows.len(), expected.len(), "and has one of a code that is not there, or one twice");
}
