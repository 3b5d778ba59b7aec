//! The audit log as it runs: group commit of records into blocks, the tick, alarms, collectors.
//! No durable record, no answer: [`Recorded`] is what an endpoint must hold to reply.

use std::{sync::Arc, time::Duration};

use casemate_formats::{
    audit::record::{Blind, Event, Record, Stamp},
    bundle::body::Label,
    digest::Digest,
};
use zeroize::Zeroizing;

use crate::state::Ring;

/// Proof that everything about an answer stands on the disk (or, before there is a root, in the
/// bounded list that is written first once there is one).
#[derive(Debug)]
pub struct Recorded(());

/// Why there is no proof: 503 `audit-unavailable`, and nothing is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditUnavailable {
    /// The disk refused a write.
    #[error("audit: the disk failed")]
    Disk,
    /// Blocks that no collector has fetched fill the ring (or this client's part of it).
    #[error("audit: the ring is full")]
    Full,
    /// More records wait than may.
    #[error("audit: too many records wait")]
    Overloaded,
    /// A record longer than a block holds.
    #[error("audit: record too long")]
    TooLong,
}

/// Keys of the log, by generation of the root: implemented by the chain of roots.
pub trait Secrets {
    /// The newest generation.
    fn generation(&self) -> u32;
    /// `derive(root of that generation, what, parts)`; `None`: no such generation.
    fn derive(&self, generation: u32, what: &str, parts: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>>;
}

/// The NV counter that ticks.
pub trait TickCounter: Send {
    /// Its value; defines the counter if it is missing.
    ///
    /// # Errors
    /// The TPM's.
    fn read(&mut self) -> Result<u64, TickError>;
    /// Adds one and gives the new value.
    ///
    /// # Errors
    /// The TPM's.
    fn increment(&mut self) -> Result<u64, TickError>;
}

/// The counter cannot be read or incremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit: tick counter")]
pub struct TickError;

/// What the bundle in force says about the log.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many collectors must have a block before its space is free.
    pub collectors_required: u8,
    /// Whether the oldest blocks are overwritten without a collector.
    pub overwrite: bool,
    /// Clients, each of which has a reserved part of the ring.
    pub clients: Vec<Label>,
    /// Logs whose loss or rollback the signers acknowledge.
    pub acknowledged: Vec<(Label, Digest)>,
}

/// What a log needs to run.
pub struct Start<'a> {
    /// Where it is kept.
    pub ring: Ring,
    /// Keys.
    pub secrets: &'a dyn Secrets,
    /// The site.
    pub namespace: Label,
    /// This host's name in the bundle.
    pub host: Label,
    /// Whether the root came out of a sealed blob of this disk (and not from shares or Forward).
    pub from_blob: bool,
    /// The counter.
    pub tick: Box<dyn TickCounter>,
    /// The bundle's word.
    pub terms: Terms,
}

/// How a log came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Whether the ring's log goes on; otherwise a new one began.
    pub continued: bool,
    /// Why a new log began.
    pub reason: Option<&'static str>,
    /// `state-rolled-back`: reads stay closed until a bundle acknowledges this log.
    pub rolled_back: Option<Digest>,
    /// Records replayed.
    pub replayed: u64,
}

/// Why a log cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The disk.
    #[error("audit: the disk failed")]
    Disk,
    /// The counter.
    #[error(transparent)]
    Tick(#[from] TickError),
    /// It runs already.
    #[error("audit: already started")]
    Running,
}

/// Who signs checkpoints, and for which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random id of the log.
    pub log: Digest,
    /// `namespace/host/log id`.
    pub origin: String,
    /// Ed25519 public key of its checkpoints.
    pub checkpoint_key: [u8; 32],
}

/// A closed block as collectors get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number: its leaf in the tree.
    pub number: u64,
    /// Its records, `formats::audit::record::Record::decode_all`; the leaf is over exactly these bytes.
    pub records: Vec<u8>,
}

/// Why blocks cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No log yet.
    #[error("audit: no log before there is a root")]
    NoLog,
    /// Overwritten since.
    #[error("audit: block is gone")]
    Gone,
    /// Beyond the log's head: the collector has seen what this disk has not (alarm raised).
    #[error("audit: beyond the head")]
    BeyondHead,
    /// The disk failed, or what stands there is damaged.
    #[error("audit: block cannot be read")]
    Damaged,
    /// The acknowledgement could not be recorded.
    #[error(transparent)]
    Unavailable(#[from] AuditUnavailable),
}

/// What `/readyz`, status and metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether there is a log on disk.
    pub started: bool,
    /// Whether records can be written now.
    pub available: bool,
    /// Closed blocks.
    pub size: u64,
    /// Records written since boot.
    pub records: u64,
    /// Unacknowledged part of the ring, in thousandths.
    pub fill: u16,
    /// Unacknowledged space is past the warning level.
    pub warning: bool,
    /// `state-rolled-back`: reads stay closed.
    pub rolled_back: bool,
}

/// The log: a handle, cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<()>);

impl Log {
    /// A log before there is a root: a bounded list in RAM. `clock` stamps every record.
    #[must_use]
    pub fn before_root(_clock: impl Fn() -> Stamp + Send + Sync + 'static) -> Self {
        todo!()
    }

    /// Opens or begins the log on disk, writes what was noted so far, ticks. `replay` sees every
    /// record from the newest snapshot on. Blocks; called once per boot.
    ///
    /// # Errors
    /// Disk or counter; nothing may be served then.
    pub fn start(
        &self,
        _start: Start<'_>,
        _replay: &mut dyn FnMut(&Record),
    ) -> Result<Started, StartError> {
        todo!()
    }

    /// Writes one record down.
    ///
    /// # Errors
    /// Nothing may be given out then.
    pub async fn record(&self, event: Event) -> Result<Recorded, AuditUnavailable> {
        self.record_all(vec![event]).await
    }

    /// Writes all records of a batch down, in order, with one wait.
    ///
    /// # Errors
    /// Nothing may be given out then.
    pub async fn record_all(&self, _events: Vec<Event>) -> Result<Recorded, AuditUnavailable> {
        todo!()
    }

    /// Counts what is only counted (requests, refusals without a name); a record follows hourly and
    /// at the start of the log.
    pub fn count(&self, _what: &'static str) {
        todo!()
    }

    /// Closed blocks from number `from`, at most 1 MiB of them; waits up to `wait` for the first one.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn blocks(&self, _from: u64, _wait: Duration) -> Result<Vec<Closed>, ReadError> {
        todo!()
    }

    /// The signed checkpoint over all closed blocks; `None` before there is a log.
    #[must_use]
    pub fn checkpoint(&self) -> Option<String> {
        todo!()
    }

    /// Which log, which key; `None` before there is a log.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        todo!()
    }

    /// A collector has every block below `next`: recorded, then its space is free.
    ///
    /// # Errors
    /// Beyond the own head: also raises the alarm `state-rolled-back`.
    pub async fn collected(&self, _client: &Label, _next: u64) -> Result<Recorded, ReadError> {
        todo!()
    }

    /// Ticks if there were records since the last tick: hourly, and at each lock.
    ///
    /// # Errors
    /// The disk's; a counter that fails is an alarm and is raised at the next tick.
    pub async fn tick(&self) -> Result<(), AuditUnavailable> {
        todo!()
    }

    /// A new bundle is in force.
    pub fn terms(&self, _terms: Terms) {
        todo!()
    }

    /// The keyed hash under which records show a guessable value; `None` before there is a log.
    #[must_use]
    pub fn blind(&self, _value: &[u8]) -> Option<Blind> {
        todo!()
    }

    /// How it stands.
    #[must_use]
    pub fn health(&self) -> Health {
        todo!()
    }
}
