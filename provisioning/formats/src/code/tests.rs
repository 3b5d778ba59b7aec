//! What the table of codes promises, tested.

use std::collections::BTreeSet;

use super::{Cause, Code};

fn kebab(slug: &str) -> bool {
    !slug.is_empty()
        && slug.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[test]
fn slugs_are_unique_and_kebab_case() {
    let codes: BTreeSet<_> = Code::ALL.iter().map(|c| c.slug()).collect();
    assert_eq!(codes.len(), Code::ALL.len());
    assert!(codes.iter().all(|slug| kebab(slug)), "{codes:?}");
    let causes: BTreeSet<_> = Cause::ALL.iter().map(|c| c.slug()).collect();
    assert_eq!(causes.len(), Cause::ALL.len());
    assert!(causes.iter().all(|slug| kebab(slug)), "{causes:?}");
}

#[test]
fn every_code_has_an_error_status_and_says_what_to_do() {
    for code in Code::ALL {
        assert!((400..=599).contains(&code.status()), "{code}");
        assert!(!code.title().is_empty() && code.what_to_do().ends_with('.'), "{code}");
        assert_eq!(Code::from_slug(code.slug()), Some(*code));
    }
}

#[test]
fn one_code_alone_answers_422() {
    let all: Vec<_> = Code::ALL.iter().filter(|c| c.status() == 422).collect();
    assert_eq!(all, [&Code::InvalidToken]);
}

#[test]
fn a_cause_that_depends_on_the_token_is_told_as_one_code() {
    for cause in Cause::ALL {
        let token = cause.slug().starts_with("token-") || cause == Cause::Canary;
        assert_eq!(cause.code() == Code::InvalidToken, token, "{cause:?}");
    }
}
