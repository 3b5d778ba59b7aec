//! Where records wait for the writer: encoded by whoever has them, appended under one short lock, all
//! taken at once. Before there is a root they wait in a bounded list, whose oldest are counted out.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_formats::audit::record::{Event, Record, Slug, Stamp};
use tokio::sync::oneshot;

use super::{AuditUnavailable, Recorded, ledger::Class, replay::class};

/// Records kept before there is a root. What a locked box does on its own fits many times; whoever
/// floods it with refusals is counted.
const BEFORE_ROOT: usize = 512;
/// Bytes of them.
const BEFORE_ROOT_BYTES: usize = 128 * 1024;
/// Bytes that may wait for the writer: 8 MiB are a dozen of the largest batches or some 80,000 single
/// items, far more than connections are admitted.
pub(super) const WAITING_BYTES: usize = 8 * 1024 * 1024;
/// Things that are only counted: names from the source, a handful.
const COUNTED: usize = 32;

pub(super) struct Intake(Mutex<Inner>);

pub(super) struct Inner {
    pub(super) mode: Mode,
    pub(super) batch: Batch,
    early: VecDeque<(Class, Vec<u8>)>,
    early_bytes: usize,
    counted_out: u32,
    counts: BTreeMap<&'static str, u32>,
}

/// Where records go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    BeforeRoot,
    Running,
}

/// What the writer takes at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
    /// An alarm is among them.
    pub(super) close: bool,
    /// Something a waiting collector wants to see is among them.
    pub(super) wakeful: bool,
}

/// Who waits for a part of a batch.
pub(super) struct Waiter {
    /// Where its bytes end.
    pub(super) end: usize,
    pub(super) class: Class,
    pub(super) records: u32,
    pub(super) done: oneshot::Sender<Result<Recorded, AuditUnavailable>>,
}

/// Encoded records of one caller.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) class: Class,
    pub(super) records: u32,
    close: bool,
    wakeful: bool,
}

impl Encoded {
    /// Encodes events, all on the account of the first one's client.
    pub(super) fn new(at: Stamp, events: Vec<Event>) -> Result<Self, AuditUnavailable> {
        let class = events.first().map_or(Class::System, class);
        let mut out = Self { bytes: Vec::new(), class, records: 0, close: false, wakeful: false };
        for event in events {
            out.close |= matches!(event, Event::Alarm { .. });
            out.wakeful |= !matches!(event, Event::Collected { .. });
            let record = Record { at, event };
            record.encode_into(&mut out.bytes).map_err(|_| AuditUnavailable::TooLong)?;
            out.records = out.records.saturating_add(1);
        }
        Ok(out)
    }
}

impl Intake {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            mode: Mode::BeforeRoot,
            batch: Batch::default(),
            early: VecDeque::new(),
            early_bytes: 0,
            counted_out: 0,
            counts: BTreeMap::new(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets records wait for the writer.
    pub(super) fn push(
        &mut self,
        encoded: Encoded,
    ) -> oneshot::Receiver<Result<Recorded, AuditUnavailable>> {
        let (done, receiver) = oneshot::channel();
        let Encoded { bytes, class, records, close, wakeful } = encoded;
        self.batch.bytes.extend_from_slice(&bytes);
        let end = self.batch.bytes.len();
        self.batch.waiters.push(Waiter { end, class, records, done });
        self.batch.close |= close;
        self.batch.wakeful |= wakeful;
        receiver
    }

    /// Keeps records until there is a root.
    pub(super) fn keep(&mut self, encoded: Encoded) {
        self.early_bytes += encoded.bytes.len();
        self.early.push_back((encoded.class, encoded.bytes));
        while self.early.len() > BEFORE_ROOT || self.early_bytes > BEFORE_ROOT_BYTES {
            let Some((_, oldest)) = self.early.pop_front() else { break };
            self.early_bytes -= oldest.len();
            self.counted_out = self.counted_out.saturating_add(1);
        }
    }

    /// Counts.
    pub(super) fn count(&mut self, what: &'static str) {
        if self.counts.len() < COUNTED || self.counts.contains_key(what) {
            let count = self.counts.entry(what).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// What was kept and counted so far, as the first records of a log; the list itself stays until
    /// [`Inner::written`].
    pub(super) fn early(&self) -> (Vec<(Class, Vec<u8>)>, Vec<Event>) {
        let kept = self.early.iter().cloned().collect();
        let mut events = self.counted();
        if self.counted_out > 0 {
            events.insert(0, lost("before-root", self.counted_out));
        }
        (kept, events)
    }

    /// The early records stand on the disk.
    pub(super) fn written(&mut self) {
        self.early = VecDeque::new();
        self.early_bytes = 0;
        self.counted_out = 0;
        self.counts.clear();
    }

    /// Takes what was counted since.
    pub(super) fn take_counts(&mut self) -> Vec<Event> {
        let events = self.counted();
        self.counts.clear();
        events
    }

    fn counted(&self) -> Vec<Event> {
        let slug = |what: &&'static str| Slug::fixed(what);
        self.counts
            .iter()
            .map(|(what, count)| Event::Counted { what: slug(what), count: *count })
            .collect()
    }
}

/// Records that could not be kept.
pub(super) fn lost(reason: &'static str, count: u32) -> Event {
    Event::Lost { reason: Slug::fixed(reason), count }
}
