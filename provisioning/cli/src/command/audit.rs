//! `casemate audit …`: a collector's and an auditor's work: fetch closed blocks, check them against
//! signed checkpoints, keep them, acknowledge them; check kept ones again, offline.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use casemate_formats::{
    api::{Blocks, Collected},
    audit::record::Record,
    code::Code,
    digest::Digest,
};

use crate::{
    collection::Collection,
    output::{Failure, Output},
    reach::Reach,
};

/// How long a box holds a question for new blocks; it closes one a second after its first record.
const WAIT: Duration = Duration::from_secs(30);
/// The same with `--once`: long enough for the open block to close.
const WAIT_ONCE: Duration = Duration::from_secs(3);

/// The audit log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Collects a box's log: verifies, stores and acknowledges block after block.
    ///
    /// Collects a box's log into files. Every block is checked against a checkpoint that is signed by the
    /// key which the box's TPM quoted, before it is acknowledged; what is acknowledged the box may
    /// overwrite. Start it again at any time: it goes on where it was.
    Follow(Follow),
    /// Verifies collected logs again, offline.
    ///
    /// Verifies every log under a directory: each block is read, the tree is built, the signed checkpoint
    /// must agree.
    Verify(Verify),
    /// Shows the records of a collected log.
    ///
    /// Prints every record of the logs under a directory, one JSON document a line, after verifying them.
    Show(Show),
}

/// Arguments of `casemate audit follow`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate audit follow --site site --host alpha --client ~/.config/casemate/audit --into audit\n  \
    casemate audit follow --site site --host alpha --client audit --into audit --once")]
pub struct Follow {
    #[command(flatten)]
    reach: Reach,
    /// Directory of collected logs.
    #[arg(long, value_name = "DIR", default_value = "audit")]
    into: PathBuf,
    /// Stop when everything that happened until now was collected.
    #[arg(long)]
    once: bool,
}

/// Arguments of `casemate audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate audit verify audit")]
pub struct Verify {
    /// Directory of collected logs, or the folder of one.
    directory: PathBuf,
}

/// Arguments of `casemate audit show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate audit show audit | jq 'select(.record.event.Item)'")]
pub struct Show {
    /// Directory of collected logs, or the folder of one.
    directory: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Follow(command) => command.run(output),
            Self::Verify(command) => command.run(output),
            Self::Show(command) => command.run(output),
        }
    }
}

/// What passes by itself: the box reboots (its TLS key is a new one), is locked, or is away.
const PASSING: [&str; 5] =
    ["audit-unavailable", "connection-lost", "unreachable", "wrong-phase", "wrong-tls-key"];
/// Until a box that was away is asked again: a reboot takes half a minute.
const AGAIN: Duration = Duration::from_secs(5);

impl Follow {
    fn run(self, output: &Output) -> Result<(), Failure> {
        if self.reach.client.is_none() {
            return Err(Failure::environment("no-client", "the log needs a client that may audit")
                .expected("--client FILE")
                .next("`casemate client new`, then list it with roles = [\"audit\"]"));
        }
        loop {
            match self.collect(output) {
                Err(failure) if !self.once && PASSING.contains(&failure.code()) => {
                    output.note(failure);
                    std::thread::sleep(AGAIN);
                }
                other => return other,
            }
        }
    }

    /// From a verified request on, until something fails; with `--once` until the log's end.
    fn collect(&self, output: &Output) -> Result<(), Failure> {
        let mut listed = self.reach.listed()?;
        let claims = listed.attest()?.claims;
        if claims.log_id == Digest::ZERO {
            return Err(Failure::from(Code::WrongPhase)
                .expected("a box with a log (operational)")
                .found(claims.phase));
        }
        let namespace = &listed.bundle.bundle().site.namespace;
        let origin = format!("{namespace}/{}/{}", listed.host.name, claims.log_id);
        let mut collection = Collection::open(&self.into, &origin, claims.checkpoint_key)?;
        let connection = &mut listed.connection;
        let mut waited = false;
        loop {
            let note = connection.get_bytes("/v1/audit/checkpoint")?;
            let signed = collection.next_checkpoint(&note)?;
            if signed.size > collection.size() {
                collection.extend(&note, &signed, |from| {
                    let page: Blocks = connection.get(&format!("/v1/audit/blocks?from={from}"))?;
                    Ok(page.blocks)
                })?;
                let next = collection.size();
                let _: Collected = connection.post("/v1/audit/collected", &Collected { next })?;
                output.note(format_args!("{origin}: {next} blocks verified, acknowledged"));
            }
            if self.once && waited {
                break;
            }
            // While a collector waits, the box closes a block a second after its first record.
            let wait = if self.once { WAIT_ONCE } else { WAIT };
            let path =
                format!("/v1/audit/blocks?from={}&wait={}", collection.size(), wait.as_secs());
            let _: Blocks = connection.get_waiting(&path, wait)?;
            waited = true;
        }
        output.result(
            format_args!("{origin}: {} blocks verified and kept", collection.size()),
            &serde_json::json!({ "origin": origin, "size": collection.size() }),
        );
        Ok(())
    }
}

impl Verify {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let mut lines = Vec::new();
        let mut values = Vec::new();
        for folder in logs(&self.directory)? {
            let collection = Collection::verify(&folder)?;
            let count = records(&collection, |_| {})?;
            let (origin, size) = (collection.origin(), collection.size());
            lines.push(format!("{origin}: {size} blocks, {count} records, as signed"));
            values.push(serde_json::json!({ "origin": origin, "size": size, "records": count }));
        }
        output.result(lines.join("\n"), &values);
        Ok(())
    }
}

impl Show {
    fn run(self, output: &Output) -> Result<(), Failure> {
        for folder in logs(&self.directory)? {
            let collection = Collection::verify(&folder)?;
            records(&collection, |record| {
                let line = serde_json::json!({ "origin": collection.origin(), "record": record });
                output.result(&line, &line);
            })?;
        }
        Ok(())
    }
}

/// Reads all verified records; how many.
fn records(collection: &Collection, mut each: impl FnMut(&Record)) -> Result<usize, Failure> {
    let mut count = 0;
    for number in 0..collection.size() {
        let records = Record::decode_all(&collection.block(number)?).map_err(|error| {
            Failure::refused("unknown-record", format!("block {number}: {error}"))
                .next("use the version of this tool that belongs to the image")
        })?;
        count += records.len();
        records.iter().for_each(&mut each);
    }
    Ok(count)
}

/// Folders of logs under a directory: those with a key.
fn logs(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let directory = directory.canonicalize().map_err(|error| Failure::file(directory, &error))?;
    let mut level = vec![directory.clone()];
    for _ in 0..=3 {
        let found: Vec<PathBuf> =
            level.iter().filter(|folder| folder.join("key").is_file()).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let mut next = Vec::new();
        for folder in &level {
            for entry in std::fs::read_dir(folder).map_err(|error| Failure::file(folder, &error))? {
                let path = entry?.path();
                if path.is_dir() {
                    next.push(path);
                }
            }
        }
        next.sort();
        level = next;
    }
    Err(Failure::environment("no-log", format!("there is no log in {}", directory.display()))
        .expected("NAMESPACE/HOST/LOG/{key, checkpoint, blocks}")
        .next("`casemate audit follow` collects one"))
}
