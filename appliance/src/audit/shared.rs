//! What the handle and the writer's thread share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use casemate_formats::{audit::record::Stamp, bundle::body::Label, digest::Digest};
use tokio::sync::watch;

use super::{
    AuditUnavailable, Recorded, Terms,
    book::LedgerLock,
    intake::{Encoded, Intake, Mode, WAITING_BYTES},
    keys::LogKeys,
    standing::Standing,
};
use crate::{pulse, state::Ring};

/// How long after a failed write the next one is tried: callers in between fail at once.
pub(super) const RETRY: Duration = Duration::from_millis(100);

pub(super) type Clock = dyn Fn() -> Stamp + Send + Sync;

pub(super) struct Shared {
    pub(super) clock: Arc<Clock>,
    pub(super) intake: Intake,
    pub(super) running: OnceLock<Running>,
    pub(super) standing: Standing,
    terms: Mutex<Terms>,
    pub(super) tree: Tree,
    /// Collectors that wait for a block.
    pub(super) waiting: AtomicUsize,
    /// The writer sleeps and must be woken.
    pub(super) idle: AtomicBool,
    pub(super) stop: AtomicBool,
    /// Bytes that anyone may write without a look at accounts.
    pub(super) room: AtomicU64,
    /// The last write failed.
    pub(super) failed: AtomicBool,
    /// Milliseconds after `epoch` when the last failed write was tried.
    pub(super) tried: AtomicU64,
    pub(super) epoch: Instant,
    pub(super) lost_to_disk: AtomicU32,
    pub(super) lost_to_room: AtomicU32,
    pub(super) records: AtomicU64,
    /// Records since the last tick.
    pub(super) since_tick: AtomicU64,
    /// One tick at a time.
    pub(super) ticking: tokio::sync::Mutex<()>,
}

/// What exists once there is a log on the disk.
pub(super) struct Running {
    pub(super) keys: Arc<LogKeys>,
    pub(super) host: Label,
    pub(super) ring: Ring,
    pub(super) ledger: LedgerLock,
    pub(super) writer: OnceLock<Thread>,
    pub(super) tick: Arc<Mutex<Box<dyn super::TickCounter>>>,
}

/// The tree as it is published: closed blocks, all durable, and their root.
pub(super) struct Tree {
    now: Mutex<(u64, Digest)>,
    size: watch::Sender<u64>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { now: Mutex::new((0, Digest::sha256(&[]))), size: watch::Sender::new(0) }
    }
}

impl Tree {
    pub(super) fn publish(&self, size: u64, root: Digest) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (size, root);
        self.size.send_replace(size);
    }

    pub(super) fn now(&self) -> (u64, Digest) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn size(&self) -> u64 {
        *self.size.borrow()
    }

    /// Wakes whoever waits for the next closed block.
    pub(super) fn sizes(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }
}

impl Shared {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            intake: Intake::new(),
            running: OnceLock::new(),
            standing: Standing::default(),
            terms: Mutex::new(Terms::default()),
            tree: Tree::default(),
            waiting: AtomicUsize::new(0),
            idle: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            room: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            tried: AtomicU64::new(0),
            epoch: Instant::now(),
            lost_to_disk: AtomicU32::new(0),
            lost_to_room: AtomicU32::new(0),
            records: AtomicU64::new(0),
            since_tick: AtomicU64::new(0),
            ticking: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes records in; the answer comes when they are durable.
    pub(super) async fn record(&self, encoded: Encoded) -> Result<Recorded, AuditUnavailable> {
        let records = encoded.records;
        let receiver = {
            let mut intake = self.intake.lock();
            if intake.mode == Mode::BeforeRoot {
                intake.keep(encoded);
                return Ok(Recorded(()));
            }
            self.admit(&encoded, intake.batch.bytes.len())
                .inspect_err(|why| self.count_lost(*why, records))?;
            intake.push(encoded)
        };
        pulse::LOG.waits();
        self.kick();
        // The writer answers every waiter that it takes; only its end leaves one without.
        receiver.await.unwrap_or(Err(AuditUnavailable::Disk))
    }

    /// Wakes the writer if it sleeps.
    pub(super) fn kick(&self) {
        if self.idle.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.running.get().and_then(|running| running.writer.get())
        {
            thread.unpark();
        }
    }

    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn admit(&self, encoded: &Encoded, pending: usize) -> Result<(), AuditUnavailable> {
        if self.failed.load(Ordering::Acquire) {
            // One caller in a while goes through and finds out; the others are told at once.
            let (now, tried) = (self.now_ms(), self.tried.load(Ordering::Acquire));
            let retry = u64::try_from(RETRY.as_millis()).unwrap_or(u64::MAX);
            if pending > 0 || now < tried.saturating_add(retry) {
                return Err(AuditUnavailable::Disk);
            }
        }
        if pending + encoded.bytes.len() > WAITING_BYTES {
            return Err(AuditUnavailable::Overloaded);
        }
        let (bytes, pending) = (encoded.bytes.len() as u64, pending as u64);
        if pending + bytes <= self.room.load(Ordering::Acquire) {
            return Ok(());
        }
        let admitted = self
            .running
            .get()
            .is_some_and(|running| running.ledger.lock().admits(&encoded.class, bytes, pending));
        if admitted { Ok(()) } else { Err(AuditUnavailable::Full) }
    }

    fn count_lost(&self, why: AuditUnavailable, records: u32) {
        let counter = match why {
            AuditUnavailable::Disk => &self.lost_to_disk,
            _ => &self.lost_to_room,
        };
        // Wraps after four thousand million refusals without one record in between.
        counter.fetch_add(records, Ordering::Relaxed);
    }
}
