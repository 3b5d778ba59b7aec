//! One thing that is wrong with a source: where, what was expected, what was found, what to do.

use std::fmt;

use serde::Serialize;

use crate::code::Code;

/// Something that keeps a source from becoming a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name.
    pub code: &'static str,
    /// File and table.
    pub place: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What to do.
    pub next: String,
}

impl Finding {
    pub(super) fn new(
        code: Code,
        place: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        next: impl fmt::Display,
    ) -> Self {
        Self {
            code: code.slug(),
            place: place.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
            next: next.to_string(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, place, expected, found, next } = self;
        write!(f, "{place}: {code}: expected {expected}, found {found}; {next}")
    }
}
