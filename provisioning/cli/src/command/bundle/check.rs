//! `casemate bundle check`: everything that is wrong with a site's files, and what to know before signing.

use std::path::PathBuf;

use casemate_formats::{
    bundle::{Bundle, source::Finding},
    limits,
};

use crate::{
    output::{Failure, Output},
    site::{Problems, Site},
    words,
};

/// Arguments of `casemate bundle check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate bundle check --site site\n  \
    casemate bundle check --json | jq .failure.details")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// Refused when there is a finding; the findings are printed before.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let compiled = match site.compile() {
            Ok(compiled) => compiled,
            Err(Problems::Failure(failure)) => return Err(failure),
            Err(Problems::Findings(findings)) => return Err(refuse(&findings, output)),
        };
        let sizes = sizes(&compiled.bundle);
        let tables: Vec<String> = sizes
            .iter()
            .map(|(name, found, limit)| format!("  {name:<12}{found} of {limit}"))
            .collect();
        let notes: Vec<String> = compiled.notes.iter().map(|note| format!("  {note}")).collect();
        let signed = site.newest_signed(None)?;
        let changes =
            words::changes(signed.as_ref().map(|signed| signed.bundle()), &compiled.bundle);
        let text = format!(
            "bundle {} of {} is right: digest {}\n{}\nit changes:\n{}\n{}",
            compiled.bundle.site.seq,
            compiled.bundle.site.namespace,
            compiled.bundle.digest().short(),
            tables.join("\n"),
            words::list(&changes),
            if notes.is_empty() {
                String::new()
            } else {
                format!("to know:\n{}", notes.join("\n"))
            },
        );
        output.result(
            text,
            &serde_json::json!({
                "findings": [],
                "notes": compiled.notes,
                "changes": changes,
                "seq": compiled.bundle.site.seq,
                "digest": compiled.bundle.digest(),
                "tables": sizes.iter().map(|(name, found, limit)| {
                    serde_json::json!({ "table": name, "found": found, "limit": limit })
                }).collect::<Vec<_>>(),
            }),
        );
        Ok(())
    }
}

fn refuse(findings: &[Finding], output: &Output) -> Failure {
    for finding in findings {
        output.note(format_args!(
            "{}: {}\n  expected: {}\n  found:    {}\n  next:     {}",
            finding.place, finding.code, finding.expected, finding.found, finding.next
        ));
    }
    let first = findings.first();
    let code = first.map_or("inconsistent", |finding| finding.code);
    Failure::refused(code, format!("{} to correct", things(findings.len())))
        .expected("files that make a bundle")
        .next("correct what is said above and check again")
        .details(findings.iter().map(|finding| serde_json::json!(finding)).collect())
}

fn things(count: usize) -> String {
    if count == 1 { "one thing".to_owned() } else { format!("{count} things") }
}

fn sizes(bundle: &Bundle) -> [(&'static str, usize, usize); 6] {
    [
        ("images", bundle.images.len(), limits::IMAGES),
        ("hosts", bundle.hosts.len(), limits::HOSTS),
        ("keyrings", bundle.service.keyrings.len(), limits::KEYRINGS),
        ("clients", bundle.service.clients.len(), limits::CLIENTS),
        ("custodians", bundle.root.custodians.len(), limits::CUSTODIANS),
        ("bytes", bundle.encode().len(), limits::BUNDLE_BYTES),
    ]
}
