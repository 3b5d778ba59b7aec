//! `casemate bundle new`: the next number and the present time in bundle.toml.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use casemate_formats::bundle::source::{BundleSource, format_time};

use crate::{
    output::{Failure, Output},
    site::{Site, write},
};

/// Arguments of `casemate bundle new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle new --site site")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// bundle.toml has no lines `seq = …` and `issued = …` of their own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let seq = site.bundle_source()?.seq;
        let newest = site.newest_signed(None)?.map_or(0, |newest| newest.bundle().site.seq);
        let changed = seq <= newest;
        let seq = if changed { take(&site, newest + 1)? } else { seq };
        let text = if changed {
            format!("seq {newest} is signed: bundle.toml has seq {seq} now")
        } else {
            format!("seq {seq} is not signed yet: nothing changed")
        };
        output.result(text, &serde_json::json!({ "seq": seq, "changed": changed }));
        Ok(())
    }
}

/// Writes this number and the present time into bundle.toml.
///
/// # Errors
/// bundle.toml has no lines `seq = …` and `issued = …` of their own.
pub(super) fn take(site: &Site, seq: u64) -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let path = site.path("bundle.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::file(&path, &e))?;
    let text = renumber(&text, seq, &format_time(now)).ok_or_else(|| {
        Failure::refused("bundle-toml", "bundle.toml cannot be renumbered")
            .expected("a line `seq = N` and a line `issued = \"…\"`, each of its own")
            .next("write them so, above the first [table]")
    })?;
    write(&path, text.as_bytes())?;
    Ok(seq)
}

/// Replaces the two lines; the result must read as the same bundle with another number.
fn renumber(text: &str, seq: u64, issued: &str) -> Option<String> {
    let is = |line: &str, key: &str| {
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let lines = text.lines().map(|line| {
        if is(line, "seq") {
            format!("seq = {seq}\n")
        } else if is(line, "issued") {
            format!("issued = {issued:?}\n")
        } else {
            format!("{line}\n")
        }
    });
    let new: String = lines.collect();
    let mut expected = BundleSource::parse(text).ok()?;
    (expected.seq, expected.issued) = (seq, issued.to_owned());
    (BundleSource::parse(&new).ok()? == expected).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::template;

    #[test]
    fn only_seq_and_issued_change_and_comments_stay() {
        let custodians = [("ann".to_owned(), "age1".to_owned())];
        let old = template::bundle("2026-11-24T11:00:00Z", 8443, 1, &custodians);
        let new = renumber(&old, 7, "2027-01-01T00:00:00Z").unwrap();
        let differ: Vec<_> = old.lines().zip(new.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!(
            differ,
            [
                ("seq = 1", "seq = 7"),
                ("issued = \"2026-11-24T11:00:00Z\"", "issued = \"2027-01-01T00:00:00Z\""),
            ]
        );
    }

    #[test]
    fn a_file_whose_numbers_stand_elsewhere_is_left_alone() {
        let old = template::bundle("2026-11-24T11:00:00Z", 8443, 1, &[]);
        assert_eq!(renumber(&old.replace("seq = 1", " seq = 1"), 7, ""), None);
    }
}
