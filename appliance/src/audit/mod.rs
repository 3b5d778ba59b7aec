//! The audit log as it runs: group commit of records into blocks, the tick, alarms, collectors.
//! No durable record, no answer: [`Recorded`] is what an endpoint must hold to reply.

mod book;
mod collect;
mod intake;
mod keys;
mod ledger;
mod replay;
mod shared;
mod standing;
mod start;
mod tick;
mod writer;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use casemate_core::root::Chain;
use casemate_formats::{
    audit::record::{Blind, Event, Record, Stamp},
    bundle::body::Label,
    digest::Digest,
};

use self::{intake::Encoded, shared::Shared};
use crate::state::Ring;

/// The alarm, and the reason for which reads stay closed: this disk is an older one.
pub const ROLLED_BACK: &str = "state-rolled-back";

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
#[derive(Clone, Debug, Default)]
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
    /// Every generation's root: the log's keys are derived from the one in force when it began.
    pub chain: &'a Chain,
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
    /// Why a new log began (`ring-blank`, `ring-does-not-open`, `ring-damaged`, `foreign-log`,
    /// `ring-behind`, `ring-ahead`, `new-generation`); of a continued one `tail-torn` where a write was
    /// cut.
    pub reason: Option<&'static str>,
    /// `state-rolled-back`: reads stay closed until a bundle acknowledges this log.
    pub rolled_back: Option<Digest>,
    /// Records replayed.
    pub replayed: u64,
    /// Unix seconds of the latest of them since a bundle was last accepted; 0: none. The machine's clock
    /// cannot stand before it.
    pub latest: u64,
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
    /// The generator of the kernel, or the chain, gives no key.
    #[error("audit: no key for a new log")]
    Entropy,
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

/// The log: a handle, cheap to clone. The writer's thread ends with the last of them.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// A log before there is a root: a bounded list in RAM. `clock` stamps every record.
    #[must_use]
    pub fn before_root(clock: impl Fn() -> Stamp + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared::new(Arc::new(clock)));
        Self(Arc::new(Handle { shared, writer: Mutex::new(None) }))
    }

    /// Opens or begins the log on disk, writes what was noted so far, ticks. `replay` sees every
    /// record from the newest snapshot on. Blocks; once per boot (after an error, again).
    ///
    /// # Errors
    /// Disk or counter; nothing may be served then.
    pub fn start(
        &self,
        start: Start<'_>,
        replay: &mut dyn FnMut(&Record),
    ) -> Result<Started, StartError> {
        let (started, writer) = start::start(&self.0.shared, start, replay)?;
        *self.0.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(started)
    }

    /// Writes one record down.
    ///
    /// # Errors
    /// Nothing may be given out then.
    pub async fn record(&self, event: Event) -> Result<Recorded, AuditUnavailable> {
        self.record_all(vec![event]).await
    }

    /// Writes all records of a batch down, in order, with one wait; they go on the account of the
    /// first one's client. No records need no wait.
    ///
    /// # Errors
    /// Nothing may be given out then.
    pub async fn record_all(&self, events: Vec<Event>) -> Result<Recorded, AuditUnavailable> {
        if events.is_empty() {
            return Ok(Recorded(()));
        }
        let shared = &self.0.shared;
        shared.record(Encoded::new((shared.clock)(), events)?).await
    }

    /// Counts what is only counted (requests, refusals without a name); a record follows with the
    /// start of the log, and with each tick.
    pub fn count(&self, what: &'static str) {
        self.0.shared.intake.lock().count(what);
    }

    /// Waits up to `wait` for block number `from`: whether [`Log::blocks`] has something to give. Nothing
    /// is read yet.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn wait_for(&self, from: u64, wait: Duration) -> Result<bool, ReadError> {
        Ok(collect::wait_for(&self.0.shared, from, wait).await?.is_some())
    }

    /// Closed blocks from number `from`, about 1 MiB of them; waits up to `wait` for the first one,
    /// and gives none when it did not come.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn blocks(&self, from: u64, wait: Duration) -> Result<Vec<Closed>, ReadError> {
        collect::blocks(&self.0.shared, from, wait).await
    }

    /// The signed checkpoint over all closed blocks; `None` before there is a log.
    #[must_use]
    pub fn checkpoint(&self) -> Option<String> {
        let running = self.0.shared.running.get()?;
        let (size, root) = self.0.shared.tree.now();
        Some(running.keys.sign(size, root))
    }

    /// Which log, which key; `None` before there is a log.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Some(self.0.shared.running.get()?.keys.identity.clone())
    }

    /// A collector has every block below `next`: recorded, then its space is free.
    ///
    /// # Errors
    /// Beyond the own head: also raises the alarm [`ROLLED_BACK`].
    pub async fn collected(&self, client: &Label, next: u64) -> Result<Recorded, ReadError> {
        collect::collected(&self.0.shared, client, next).await
    }

    /// Ticks if there were records since the last tick: hourly, and at each lock.
    ///
    /// # Errors
    /// The disk's. A counter that fails is an alarm; the next tick makes up for it.
    pub async fn tick(&self) -> Result<(), AuditUnavailable> {
        tick::tick(&self.0.shared).await
    }

    /// Ticks every hour, for ever: to be spawned by whoever has the runtime.
    pub async fn tick_hourly(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            // A failing disk shows in health and in every answer.
            let _ = self.tick().await;
        }
    }

    /// A new bundle is in force.
    pub fn terms(&self, terms: Terms) {
        let shared = &self.0.shared;
        let Some(running) = shared.running.get() else { return };
        let log = running.keys.identity.log;
        if terms.acknowledged.iter().any(|(host, id)| *host == running.host && *id == log) {
            shared.standing.lock().rolled_back = None;
        }
        running.ledger.lock().terms(&terms);
        *shared.terms() = terms;
        collect::free(shared, running);
    }

    /// What another room keeps over a restart (windows, locks): goes into every snapshot from now on.
    /// `false`: more than a snapshot holds, nothing changed.
    #[must_use]
    pub fn keep(&self, section: u16, bytes: Vec<u8>) -> bool {
        self.0.shared.standing.lock().keep(section, bytes)
    }

    /// The keyed hash under which records show a guessable value of a kind (`subject`, `context`);
    /// `None` before there is a log.
    #[must_use]
    pub fn blind(&self, kind: &str, value: &[u8]) -> Option<Blind> {
        Some(self.0.shared.running.get()?.keys.blind(kind, value))
    }

    /// How it stands.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.0.shared;
        let running = shared.running.get();
        let (fill, warning) = running.map_or((0, false), |running| running.ledger.lock().fill());
        Health {
            started: running.is_some(),
            available: running.is_some() && !shared.failed.load(Ordering::Acquire) && fill < 1000,
            size: shared.tree.size(),
            records: shared.records.load(Ordering::Relaxed),
            fill,
            warning,
            rolled_back: shared.standing.lock().rolled_back.is_some(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.thread().unpark();
            // It ends after the write it is at; a panic there was its own.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
