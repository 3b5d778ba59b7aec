//! `casemate bundle push`: sends a signed bundle to boxes, one after another, and says what each
//! answered. A root that only one box holds is given to the others first.

use std::path::PathBuf;

use casemate_formats::{api::Accepted, bundle::Verified, code::Code};
use serde_json::json;

use super::pending;
use crate::{
    output::{Failure, Output},
    reach::{self, Listed},
    site::{Site, bundle_failure},
};

/// Sends the newest signed bundle (or --bundle) to every host of the site, one after another, or to one.
/// Each box is verified first, so that its answer can be believed; the bundle itself needs no trust.
/// A box that has it already answers `again`. When the bundle names a root that was made on one box
/// (genesis), that root is forwarded to every other box that serves before anything is pushed; this
/// needs a client that may operate.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle push --site site\n  \
    casemate bundle push --site site --host alpha\n  \
    casemate bundle push --site site --client ~/.config/casemate/ops    (with a new root)")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of one box; otherwise every host of the site.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where the box is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "host")]
    address: Option<String>,
    /// Another bundle than the newest signed one.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Certificate and key of a client that may operate: FILE.crt and FILE.key.
    #[arg(long, value_name = "FILE", env = "CASEMATE_CLIENT")]
    client: Option<PathBuf>,
}

/// What became of one box.
struct Row {
    host: String,
    retired: bool,
    outcome: Result<Accepted, Failure>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// What a box refused, by its code; or no connection. With several boxes: the first failure,
    /// after all were tried.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let bundle = match &self.bundle {
            None => reach::signed(&site)?,
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
                Verified::verify(&bytes, &site.anchors()?)
                    .map_err(|error| bundle_failure(path, &error))?
            }
        };
        let mut hosts: Vec<String> = match &self.host {
            Some(host) => vec![host.clone()],
            None => bundle.bundle().hosts.iter().map(|host| host.name.to_string()).collect(),
        };
        let retired = |name: &str| {
            bundle.bundle().hosts.iter().any(|host| host.name.as_str() == name && host.retired)
        };
        let listed = |name: &str| {
            reach::listed(site.clone(), bundle.clone(), name, self.address.as_deref(), None)
        };
        if let Some(maker) = pending::maker(&site, &bundle)? {
            let others: Vec<&String> =
                hosts.iter().filter(|host| **host != maker && !retired(host)).collect();
            pending::forward(
                &site,
                &bundle,
                &maker,
                &others,
                self.client.as_deref(),
                &listed,
                output,
            )?;
            // The box that made the root comes last: as long as it is under the old bundle, it can
            // forward again.
            hosts.sort_by_key(|host| *host == maker);
        }
        let mut rows = Vec::new();
        for host in &hosts {
            let outcome = listed(host).and_then(|listed| push(listed, &bundle));
            if hosts.len() > 1 {
                output.note(line(host, &outcome));
            }
            rows.push(Row { host: host.clone(), retired: retired(host), outcome });
        }
        report(rows, output)
    }
}

fn push(mut listed: Listed, bundle: &Verified) -> Result<Accepted, Failure> {
    listed.trust()?;
    let sent = listed.connection.post_bytes("/v1/bundle", bundle.envelope().to_vec());
    let answer: Accepted = sent.map_err(|failure| {
        if failure.code() == Code::RootNotHeld.slug() {
            return failure.next(
                "it serves under the old root and was away when the new one was made: flash it, push, \
                 and forward from another box (runbook disk-lost)",
            );
        }
        failure
    })?;
    if answer.bundle != bundle.digest() {
        return Err(Failure::refused("wrong-answer", "the box names another bundle as in force")
            .expected(bundle.digest())
            .found(answer.bundle)
            .next("fetch its status"));
    }
    Ok(answer)
}

fn line(host: &str, outcome: &Result<Accepted, Failure>) -> String {
    match outcome {
        Ok(Accepted { seq, phase, outcome, .. }) => {
            format!("{host:<16}bundle {seq} {outcome}, {phase}")
        }
        Err(failure) => format!("{host:<16}NOT: {}", failure.code()),
    }
}

fn report(rows: Vec<Row>, output: &Output) -> Result<(), Failure> {
    let lines: Vec<String> = rows.iter().map(|row| line(&row.host, &row.outcome)).collect();
    let table: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| match &row.outcome {
            Ok(answer) => json!({ "host": row.host, "answer": answer }),
            Err(failure) => json!({ "host": row.host, "failure": failure }),
        })
        .collect();
    let several = rows.len() > 1;
    let (total, mut failed) = (rows.len(), 0);
    let mut first = None;
    for row in rows {
        let Err(failure) = row.outcome else { continue };
        if row.retired && failure.exit_code() == 2 {
            // It has destroyed what it held, or will as soon as it hears.
            output.note(format_args!("{}: retired, and not there", row.host));
            continue;
        }
        if several {
            output.note(format_args!("{}: {failure}", row.host));
        }
        failed += 1;
        first.get_or_insert(failure);
    }
    match first {
        None => {
            output.result(lines.join("\n"), &table);
            Ok(())
        }
        Some(failure) if several => Err(failure
            .prefixed(format_args!("{failed} of {total} boxes did not take the bundle"))
            .details(table)),
        Some(failure) => Err(failure),
    }
}
