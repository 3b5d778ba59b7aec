//! How a log comes up: the one on the disk is continued when it opens, is this host's and stands
//! where the tick counter stands; otherwise a new one begins beside it.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, atomic::Ordering},
    thread::JoinHandle,
    time::Instant,
};

use casemate_formats::{
    audit::{
        record::{Begin, Event, Former, Origin, Record, Slug},
        tree::Frontier,
    },
    digest::Digest,
};

use super::{
    Start, StartError, Started,
    book::{Book, Context, LedgerLock, Opening},
    intake::Mode,
    keys::LogKeys,
    ledger::Ledger,
    replay::{self, Found, Replayed},
    shared::{Running, Shared},
    standing::Values,
    writer,
};

/// What the writer's thread begins with.
struct Ready {
    book: Book,
    ledger: Ledger,
    values: Values,
    started: Started,
    /// Record 0 of a new log.
    begin: Option<Event>,
}

pub(super) fn start(
    shared: &Arc<Shared>,
    start: Start<'_>,
    visit: &mut dyn FnMut(&Record),
) -> Result<(Started, JoinHandle<()>), StartError> {
    if shared.running.get().is_some() {
        return Err(StartError::Running);
    }
    let Start { ring, chain, namespace, host, from_blob, mut tick, terms } = start;
    let origin = Origin { namespace, host };
    let counter = tick.read()?;
    let mut latest = 0;
    let found = replay::open(&ring, chain, &origin, &terms, &mut |record| {
        latest = later(latest, record);
        visit(record);
    })?;
    let reason = match &found {
        Found::Log(log) if log.opening.keys.generation != chain.generation() => {
            Some("new-generation")
        }
        Found::Log(log) => stands(log.values.tick, counter),
        Found::Closed { reason, .. } => Some(*reason),
        Found::Blank => Some("ring-blank"),
    };
    let mut ready = match (found, reason) {
        (Found::Log(log), None) => {
            if log.values.tick > counter {
                tick.increment()?;
            }
            resume(*log)
        }
        (found, reason) => {
            let reason = reason.unwrap_or("ring-blank");
            let rolled_back = from_blob && reason != "new-generation";
            begin(shared, found, &ring, chain, &origin, &terms, (reason, rolled_back))?
        }
    };
    let acknowledged = ready.values.rolled_back.filter(|log| {
        terms.acknowledged.iter().any(|(host, id)| *host == origin.host && id == log)
    });
    if acknowledged.is_some() {
        ready.values.rolled_back = None;
    }
    ready.started.rolled_back = ready.values.rolled_back;
    ready.started.latest = latest / 1000;
    ready.values.tick = tick.read()?.saturating_add(1);
    run(shared, ring, terms, tick, ready)
}

/// `None`: the log stands where the counter stands (or one ahead: a power cut came between the record
/// and the increment).
fn stands(tick: u64, counter: u64) -> Option<&'static str> {
    if tick == counter || tick == counter.saturating_add(1) {
        None
    } else if tick < counter {
        Some("ring-behind")
    } else {
        Some("ring-ahead")
    }
}

/// The latest Unix time (ms) of records, beginning anew where a bundle was accepted: its signers may
/// have set a clock right that ran ahead.
fn later(latest: u64, record: &Record) -> u64 {
    match record.event {
        Event::BundleAccepted { .. } => record.at.unix_ms,
        _ => latest.max(record.at.unix_ms),
    }
}

fn resume(log: Replayed) -> Ready {
    let Replayed { opening, values, ledger, records, torn } = log;
    let started = Started {
        continued: true,
        reason: torn.then_some("tail-torn"),
        rolled_back: values.rolled_back,
        replayed: records,
        latest: 0,
    };
    Ready { book: Book::new(opening), ledger, values, started, begin: None }
}

/// A new log. Its first block goes where the former log ends, which stays as it is: its open block is
/// closed first, where it opens.
fn begin(
    shared: &Shared,
    found: Found,
    ring: &crate::state::Ring,
    chain: &casemate_core::root::Chain,
    origin: &Origin,
    terms: &super::Terms,
    (reason, rolled_back): (&'static str, bool),
) -> Result<Ready, StartError> {
    let (former, position, write, place) = match found {
        Found::Blank => (Former::None, 0, 0, 0),
        Found::Closed { log: None, position, .. } => (Former::Unknown, position, 0, 0),
        Found::Closed { log: Some(id), position, .. } => (Former::Claimed(id), position, 0, 0),
        Found::Log(log) => close_former(shared, *log, terms)?,
    };
    let mut log = Digest::ZERO;
    getrandom::fill(&mut log.0).map_err(|_| StartError::Entropy)?;
    let generation = chain.generation();
    let keys = LogKeys::derive(chain, generation, log, origin).ok_or(StartError::Entropy)?;
    let book = Book::new(Opening {
        ring: ring.clone(),
        keys: Arc::new(keys),
        origin: origin.clone(),
        frontier: Frontier::new(),
        link: Digest::ZERO,
        position,
        snapshot: (0, position),
        write,
        tail_write: None,
        place,
        records: Vec::new(),
    });
    let event = Event::Begin(Begin {
        origin: origin.clone(),
        former,
        reason: Slug::fixed(reason),
        generation,
        rolled_back,
    });
    Ok(Ready {
        ledger: Ledger::new(ring.units(), 0, book.position, terms),
        book,
        values: Values { rolled_back: rolled_back.then_some(log), ..Values::default() },
        started: Started {
            continued: false,
            reason: Some(reason),
            rolled_back: None,
            replayed: 0,
            latest: 0,
        },
        begin: Some(event),
    })
}

/// Closes the open block of the log that is left behind; gives what a new one needs.
fn close_former(
    shared: &Shared,
    log: Replayed,
    terms: &super::Terms,
) -> Result<(Former, u64, u64, usize), StartError> {
    let mut ledger = log.ledger;
    ledger.terms(&super::Terms { overwrite: true, ..terms.clone() });
    let ledger = LedgerLock::new(ledger);
    let mut book = Book::new(log.opening);
    let silent = super::shared::Tree::default();
    let context = Context {
        ledger: &ledger,
        standing: &shared.standing,
        clock: &*shared.clock,
        tree: &silent,
    };
    book.commit(true, &context)?;
    let former = Former::Log { id: book.keys.identity.log, size: book.size() };
    Ok((former, book.position, book.write, book.place))
}

/// Writes what waited for a log, ticks, starts the thread.
fn run(
    shared: &Arc<Shared>,
    ring: crate::state::Ring,
    terms: super::Terms,
    mut tick: Box<dyn super::TickCounter>,
    ready: Ready,
) -> Result<(Started, JoinHandle<()>), StartError> {
    let Ready { mut book, ledger, values, started, begin } = ready;
    let value = values.tick;
    *shared.standing.lock() = values;
    let ledger = LedgerLock::new(ledger);
    // Held to the end: what others record meanwhile waits for the writer.
    let mut intake = shared.intake.lock();
    let context = Context {
        ledger: &ledger,
        standing: &shared.standing,
        clock: &*shared.clock,
        tree: &shared.tree,
    };
    shared.tree.publish(book.size(), book.frontier.root());
    let (kept, counted) = intake.early();
    if let Some(begin) = begin {
        writer::append_event(&mut book, begin, &context)?;
    } else {
        book.begin_block(&context);
    }
    for (class, bytes) in kept {
        book.append(&bytes, &class, &context)?;
    }
    for event in counted {
        writer::append_event(&mut book, event, &context)?;
    }
    writer::append_event(&mut book, Event::Tick { value }, &context)?;
    book.commit(false, &context)?;
    intake.written();
    tick.increment()?;
    shared.room.store(ledger.lock().room(), Ordering::Release);
    *shared.terms() = terms;
    let running = Running {
        host: book.origin.host.clone(),
        keys: Arc::clone(&book.keys),
        ring,
        ledger,
        writer: OnceLock::new(),
        tick: Arc::new(Mutex::new(tick)),
    };
    shared.running.set(running).map_err(|_| StartError::Running)?;
    let opened = (book.open_bytes() > 0).then(Instant::now);
    let handle = writer::spawn(shared, book, opened)?;
    if let Some(running) = shared.running.get() {
        // Set once, by the one call that set `running`.
        let _ = running.writer.set(handle.thread().clone());
    }
    intake.mode = Mode::Running;
    Ok((started, handle))
}

impl From<io::Error> for StartError {
    fn from(_: io::Error) -> Self {
        Self::Disk
    }
}
