//! What a caller sees: a result as text or JSON on standard output, notes on standard error, and
//! failures that say what was expected, what was found and what to do next.

use std::{
    fmt::{self, Display},
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use casemate_formats::{code::Code, request::verify::Refusal};
use serde::Serialize;

/// Where and how results go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Text for people, or one JSON document for programs.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// The one result of a command: `text` for people, `value` for `--json`.
    pub fn result(&self, text: impl Display, value: &impl Serialize) {
        let line = if self.json {
            // JSON escapes what a terminal would obey.
            serde_json::to_string(value)
                .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
        } else {
            plain(text)
        };
        // A closed pipe is the reader's choice.
        let _ = writeln!(io::stdout().lock(), "{}", line.trim_end());
    }

    /// Whether anybody reads progress.
    #[must_use]
    pub const fn speaks(&self) -> bool {
        !self.json
    }

    /// Progress and hints, on standard error; silent with `--json`.
    pub fn note(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(io::stderr().lock(), "{}", plain(text));
        }
    }

    /// Asks a person for `yes`.
    ///
    /// # Errors
    /// Refused when the answer is another one; environment when there is no terminal to ask on.
    pub fn confirm(&self, question: impl Display) -> Result<(), Failure> {
        if self.json || !io::stdin().is_terminal() {
            return Err(Failure::environment("needs-confirmation", "nobody is there to be asked")
                .expected("a terminal, or --yes")
                .next("run it in a terminal, or check what it shows and add --yes"));
        }
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{} [yes/no] ", plain(question));
        let _ = stderr.flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(Failure::refused("not-confirmed", "nothing was changed").expected("yes"))
        }
    }

    /// Prints a failure: on standard error, or with `--json` as the document on standard output.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.result("", &serde_json::json!({ "failure": failure }));
        } else {
            let _ = write!(io::stderr().lock(), "{}", plain(failure));
        }
    }
}

/// Text that a terminal shows and does not obey. Boxes, files and whoever answers at an address have
/// words in it, and what people decide on must not be painted over or turned around.
fn plain(text: impl Display) -> String {
    let shown = |c: char| match c {
        '\n' => '\n',
        // Controls (C0, DEL, C1), and what changes the direction of writing (UAX 9).
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c => c,
    };
    text.to_string().chars().map(shown).collect()
}

/// Why a command did not do it.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Whose turn it is.
    kind: Kind,
    /// Stable name of the reason, for programs and runbooks.
    code: Box<str>,
    /// One sentence.
    message: Box<str>,
    /// What should have been there.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Box<str>>,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Box<str>>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Box<str>>,
    /// Everything that was found wrong, for programs; people saw it as notes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Refused,
    Environment,
}

impl Failure {
    /// What was checked does not hold: exit code 1.
    #[must_use]
    pub fn refused(code: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self::new(Kind::Refused, code, message)
    }

    /// The command could not do its work here (file, tool, network, usage): exit code 2.
    #[must_use]
    pub fn environment(code: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self::new(Kind::Environment, code, message)
    }

    fn new(kind: Kind, code: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            expected: None,
            found: None,
            next: None,
            details: Vec::new(),
        }
    }

    /// Adds what programs want to see one by one.
    #[must_use]
    pub fn details(mut self, details: Vec<serde_json::Value>) -> Self {
        self.details = details;
        self
    }

    /// Says before it what it means for the whole.
    #[must_use]
    pub fn prefixed(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message).into();
        self
    }

    /// A file that could not be read or written.
    #[must_use]
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::environment("file", format!("{}: {error}", path.display()))
    }

    /// Says what should have been there.
    #[must_use]
    pub fn expected(mut self, expected: impl Display) -> Self {
        self.expected = Some(expected.to_string().into());
        self
    }

    /// Says what was there.
    #[must_use]
    pub fn found(mut self, found: impl Display) -> Self {
        self.found = Some(found.to_string().into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Display) -> Self {
        self.next = Some(next.to_string().into());
        self
    }

    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// 1 refused, 2 usage or environment.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Refused => 1,
            Kind::Environment => 2,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Refused => "refused",
            Kind::Environment => "failed",
        };
        writeln!(f, "casemate: {kind}: {} ({})", self.message, self.code)?;
        for (word, text) in
            [("expected", &self.expected), ("found", &self.found), ("next", &self.next)]
        {
            if let Some(text) = text {
                writeln!(f, "  {:<10}{text}", format!("{word}:"))?;
            }
        }
        Ok(())
    }
}

impl From<Code> for Failure {
    /// What the code's table says: refused, with what to do.
    fn from(code: Code) -> Self {
        Self::refused(code.slug(), code.title()).next(code.what_to_do())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::from(refusal.code).expected(refusal.expected).found(refusal.found)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::environment("io", error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::environment("failed", format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_expected_found_and_next_and_exits_1() {
        let failure = Failure::refused("wrong-nonce", "the answer is not to this question")
            .expected("aa")
            .found("bb")
            .next("ask again");
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(
            failure.to_string(),
            "casemate: refused: the answer is not to this question (wrong-nonce)\n  \
             expected: aa\n  found:    bb\n  next:     ask again\n"
        );
    }

    #[test]
    fn a_terminal_obeys_nothing_that_somebody_else_wrote() {
        let failure =
            Failure::refused("x", "\u{1b}[2J\u{9b}1m\r\u{7f}").found("a\u{202e}b\u{2066}");
        let shown = plain(&failure);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        assert!(shown.contains("a\u{fffd}b\u{fffd}") && shown.contains("[2J"), "{shown:?}");
        assert_eq!(plain("two\nlines, größer"), "two\nlines, größer");
    }

    #[test]
    fn a_missing_file_exits_2() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(Failure::file(Path::new("x"), &error).exit_code(), 2);
    }
}
