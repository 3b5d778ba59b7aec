//! `casemate share push`: brings sealed shares to the box, and says by name which it did not take.

use std::path::{Path, PathBuf};

use casemate_formats::{
    api::{Shares, SharesTaken},
    code::Code,
    share::exchange::{MAX_SEALED_BYTES, SealedShare},
};
use serde_json::{Value, json};

use crate::{
    output::{Failure, Output},
    reach::{Listed, Reach},
    site::read_bounded,
};

/// Brings sealed shares to the box that they are for. Shares that are for another box, boot or bundle,
/// or that the box does not take, are named by custodian and commitment; the others stay in its memory
/// until k are there. May be repeated, with more files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share push --site site --host alpha ann.sealed bob.sealed")]
pub struct Command {
    #[command(flatten)]
    reach: Reach,
    /// Sealed shares, from `casemate share seal`.
    #[arg(required = true, value_name = "SEALED")]
    files: Vec<PathBuf>,
}

/// A share that was not taken.
struct Refused {
    file: PathBuf,
    custodian: String,
    commitment: String,
    failure: Failure,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The box is not the listed one; or the first share that was not taken, after all were tried.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut read = Vec::new();
        for path in &self.files {
            let sealed = SealedShare::parse(&read_bounded(path, MAX_SEALED_BYTES)?);
            let sealed = sealed.map_err(|error| {
                Failure::refused("malformed-file", format!("{}: {error}", path.display()))
                    .next("`casemate share seal` writes such a file")
            })?;
            read.push((path.clone(), sealed));
        }
        let mut listed = self.reach.listed()?;
        let claims = listed.attest()?.claims;
        if claims.phase == "operational" {
            let text = format!("{} is operational: nothing was sent", listed.host.name);
            output.result(text, &json!({ "phase": "operational", "sent": 0 }));
            return Ok(());
        }
        if claims.bundle != listed.bundle.digest() {
            return Err(Failure::from(Code::WrongBundle)
                .expected(listed.bundle.digest())
                .found(crate::attest::or_none(&claims.bundle))
                .next("`casemate bundle push`, then a new request"));
        }
        let mut refused = Vec::new();
        let mut fitting = Vec::new();
        for (path, sealed) in read {
            match fits(&sealed, &listed, &claims.hpke_key) {
                Ok(()) => fitting.push((path, sealed)),
                Err(failure) => refused.push(named(&path, &sealed, failure)),
            }
        }
        let messages = fitting.iter().map(|(_, sealed)| sealed.message.clone()).collect();
        let taken: Option<SharesTaken> = match fitting.as_slice() {
            [] => None,
            _ => Some(listed.connection.post("/v1/shares", &Shares { messages })?),
        };
        for answer in taken.iter().flat_map(|taken| &taken.refused) {
            let Some((path, sealed)) = fitting.get(answer.index) else { continue };
            let failure = Code::from_slug(&answer.code).map_or_else(
                || Failure::refused(answer.code.as_str(), "the box does not take it"),
                Failure::from,
            );
            refused.push(named(path, sealed, failure));
        }
        report(&listed, taken.as_ref(), fitting.len(), refused, output)
    }
}

/// What can be told before anything is sent.
fn fits(
    sealed: &SealedShare,
    listed: &Listed,
    boot: &casemate_formats::digest::Digest,
) -> Result<(), Failure> {
    let bundle = listed.bundle.bundle();
    if sealed.namespace != bundle.site.namespace {
        return Err(Failure::from(Code::ForeignNamespace)
            .expected(&bundle.site.namespace)
            .found(&sealed.namespace));
    }
    if sealed.host != listed.host.name {
        return Err(Failure::from(Code::WrongBoot)
            .expected(format_args!("a share for {}", listed.host.name))
            .found(format_args!("one for {}", sealed.host)));
    }
    sealed.message.is_for(boot, bundle, &listed.bundle.digest())?;
    Ok(())
}

fn named(path: &Path, sealed: &SealedShare, failure: Failure) -> Refused {
    Refused {
        file: path.to_owned(),
        custodian: sealed.custodian.to_string(),
        commitment: sealed.commitment.short(),
        failure,
    }
}

fn report(
    listed: &Listed,
    taken: Option<&SharesTaken>,
    sent: usize,
    refused: Vec<Refused>,
    output: &Output,
) -> Result<(), Failure> {
    let needed = listed.bundle.bundle().root.threshold;
    let open = taken.is_some_and(|taken| taken.phase == "operational");
    let held = taken.map_or(0, |taken| taken.held);
    let text = if open {
        format!("{} is operational", listed.host.name)
    } else {
        format!(
            "{} holds {held} of {needed} shares in memory; {} more needed",
            listed.host.name,
            needed.saturating_sub(held)
        )
    };
    let details: Vec<Value> = refused
        .iter()
        .map(|refused| {
            json!({
                "file": refused.file, "custodian": refused.custodian,
                "commitment": refused.commitment, "failure": refused.failure,
            })
        })
        .collect();
    for Refused { file, custodian, commitment, failure } in &refused {
        output.note(format_args!(
            "{} ({custodian}, commitment {commitment}): {failure}",
            file.display()
        ));
    }
    let first = refused.into_iter().next();
    let Some(first) = first.filter(|_| !open) else {
        // With the root open, a share that did not fit has done no harm.
        let phase = taken.map_or("locked", |taken| taken.phase.as_str());
        output.result(
            text,
            &json!({
                "phase": phase, "held": held, "needed": needed, "sent": sent, "refused": details,
            }),
        );
        return Ok(());
    };
    output.note(&text);
    let count = details.len();
    Err(Failure::refused(
        first.failure.code(),
        format!("{count} of the shares, {}'s first, not taken; {text}", first.custodian),
    )
    .expected("shares of this root and split, each once, sealed to this boot of this box")
    .found(format_args!("{}: {}", first.custodian, first.failure.code()))
    .next("see what is said of each; those that were taken stay until the box starts again")
    .details(details))
}
