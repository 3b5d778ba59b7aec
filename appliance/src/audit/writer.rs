//! The writer's thread: takes everything that waits, makes it durable as one commit, answers. While it
//! writes, the next commit gathers: that is the whole group commit.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use casemate_formats::audit::record::{Event, Record};

use super::{
    AuditUnavailable, Recorded,
    book::{Book, Context},
    intake::{Batch, lost},
    ledger::Class,
    shared::{RETRY, Running, Shared},
};
use crate::pulse;

/// A block that a collector waits for closes so long after its first record (design, section 10).
const CLOSE_AFTER: Duration = Duration::from_secs(1);
/// How often a failed disk is tried while nobody asks for anything.
const PROBE: Duration = Duration::from_secs(1);

/// Runs until the log is dropped.
pub(super) fn run(shared: &Shared, running: &Running, mut book: Book, mut opened: Option<Instant>) {
    loop {
        let mut batch = wait(shared, opened);
        pulse::LOG.beat();
        if shared.stop.load(Ordering::Acquire) && batch.waiters.is_empty() {
            return;
        }
        let collector = shared.waiting.load(Ordering::Acquire) > 0;
        let due = collector && opened.is_some_and(|at| at.elapsed() >= CLOSE_AFTER);
        if batch.wakeful && opened.is_none() {
            opened = Some(Instant::now());
        }
        let probing = shared.failed.load(Ordering::Acquire);
        if batch.waiters.is_empty() && !due && !probing {
            continue;
        }
        let size = book.size();
        let context = context(shared, running);
        let written = write(shared, &mut book, &batch, due || batch.close, &context);
        shared.room.store(running.ledger.lock().room(), Ordering::Release);
        match written {
            Ok(()) => {
                shared.failed.store(false, Ordering::Release);
                if book.open_bytes() == 0 {
                    opened = None;
                } else if book.size() != size {
                    opened = batch.wakeful.then(Instant::now);
                }
                succeed(shared, &mut batch);
            }
            Err(error) => {
                book.roll_back();
                let why = if error.kind() == io::ErrorKind::StorageFull {
                    AuditUnavailable::Full
                } else {
                    shared.tried.store(shared.now_ms(), Ordering::Release);
                    shared.failed.store(true, Ordering::Release);
                    AuditUnavailable::Disk
                };
                fail(shared, &mut batch, why);
                // Not a sleep: the end of the log need not wait for it.
                thread::park_timeout(RETRY);
            }
        }
    }
}

/// What a book needs while it writes.
pub(super) fn context<'a>(shared: &'a Shared, running: &'a Running) -> Context<'a> {
    Context {
        ledger: &running.ledger,
        standing: &shared.standing,
        clock: &*shared.clock,
        tree: &shared.tree,
    }
}

/// Sleeps until something waits, the open block is due, or a failed disk is to be tried.
fn wait(shared: &Shared, opened: Option<Instant>) -> Batch {
    loop {
        pulse::LOG.rest();
        shared.idle.store(true, Ordering::Release);
        let batch = std::mem::take(&mut shared.intake.lock().batch);
        if !batch.waiters.is_empty() || shared.stop.load(Ordering::Acquire) {
            shared.idle.store(false, Ordering::Release);
            return batch;
        }
        let collector = shared.waiting.load(Ordering::Acquire) > 0;
        let due = opened.filter(|_| collector).map(|at| CLOSE_AFTER.saturating_sub(at.elapsed()));
        let probe = shared.failed.load(Ordering::Acquire).then_some(PROBE);
        match due.into_iter().chain(probe).min() {
            Some(Duration::ZERO) => return batch,
            Some(timeout) => {
                thread::park_timeout(timeout);
                if shared.idle.load(Ordering::Acquire) {
                    // Nobody kicked: the time is up.
                    return std::mem::take(&mut shared.intake.lock().batch);
                }
            }
            None => thread::park(),
        }
    }
}

fn write(
    shared: &Shared,
    book: &mut Book,
    batch: &Batch,
    close: bool,
    context: &Context<'_>,
) -> io::Result<()> {
    if shared.failed.load(Ordering::Acquire) && !book.stands() {
        return Err(io::Error::other("the log's end is not where it was"));
    }
    let disk = shared.lost_to_disk.load(Ordering::Relaxed);
    let room = shared.lost_to_room.load(Ordering::Relaxed);
    for (reason, count) in [("audit-disk", disk), ("audit-room", room)] {
        // After a failure something is written in any case: only a write that succeeds ends it.
        if count > 0 || reason == "audit-disk" && shared.failed.load(Ordering::Acquire) {
            append_event(book, lost(reason, count), context)?;
        }
    }
    let mut start = 0;
    for waiter in &batch.waiters {
        book.append(&batch.bytes[start..waiter.end], &waiter.class, context)?;
        start = waiter.end;
    }
    book.commit(close, context)?;
    shared.lost_to_disk.fetch_sub(disk, Ordering::Relaxed);
    shared.lost_to_room.fetch_sub(room, Ordering::Relaxed);
    Ok(())
}

/// Appends a record of the box itself.
pub(super) fn append_event(book: &mut Book, event: Event, context: &Context<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let record = Record { at: (context.clock)(), event };
    record.encode_into(&mut bytes).map_err(|_| io::Error::other("record too long"))?;
    book.append(&bytes, &Class::System, context)
}

fn succeed(shared: &Shared, batch: &mut Batch) {
    let records: u64 = batch.waiters.iter().map(|waiter| u64::from(waiter.records)).sum();
    shared.records.fetch_add(records, Ordering::Relaxed);
    shared.since_tick.fetch_add(records, Ordering::Relaxed);
    for waiter in batch.waiters.drain(..) {
        // A caller that went away does not mind.
        let _ = waiter.done.send(Ok(Recorded(())));
    }
}

fn fail(shared: &Shared, batch: &mut Batch, why: AuditUnavailable) {
    let counter = match why {
        AuditUnavailable::Disk => &shared.lost_to_disk,
        _ => &shared.lost_to_room,
    };
    for waiter in batch.waiters.drain(..) {
        counter.fetch_add(waiter.records, Ordering::Relaxed);
        let _ = waiter.done.send(Err(why));
    }
}

/// Starts the thread.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    book: Book,
    opened: Option<Instant>,
) -> io::Result<thread::JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let handle = thread::Builder::new().name("audit".into()).spawn(move || {
        if let Some(running) = shared.running.get() {
            run(&shared, running, book, opened);
        }
    })?;
    Ok(handle)
}
