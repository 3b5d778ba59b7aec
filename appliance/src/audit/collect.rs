//! What collectors get: closed blocks, as plaintext; and what they give: word of what they have.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use casemate_formats::{
    audit::record::{Event, Slug},
    bundle::body::Label,
    state::header::TAIL_UNITS,
};

use super::{
    Closed, ROLLED_BACK, ReadError, Recorded,
    intake::Encoded,
    replay,
    shared::{Running, Shared},
};

/// Bytes of records in one answer; at least one block is always given.
const ANSWER_BYTES: usize = 1024 * 1024;
/// How long a collector may wait: less than idle timeouts on the way.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits for a block; `None`: it did not come. Otherwise how many there are.
pub(super) async fn wait_for(
    shared: &Shared,
    from: u64,
    wait: Duration,
) -> Result<Option<u64>, ReadError> {
    let mut sizes = shared.tree.sizes();
    if shared.running.get().is_none() {
        return Err(ReadError::NoLog);
    }
    let waited = tokio::time::timeout(wait.min(WAIT_MAX), async {
        loop {
            let size = *sizes.borrow_and_update();
            if from != size {
                return size;
            }
            let _waiting = Waiting::new(&shared.waiting);
            shared.kick();
            if sizes.changed().await.is_err() {
                return size;
            }
        }
    });
    match waited.await {
        Err(_) => Ok(None),
        Ok(size) if from > size => Err(ReadError::BeyondHead),
        Ok(size) => Ok(Some(size)),
    }
}

/// Closed blocks from a number on; waits for the first.
pub(super) async fn blocks(
    shared: &Arc<Shared>,
    from: u64,
    wait: Duration,
) -> Result<Vec<Closed>, ReadError> {
    let Some(size) = wait_for(shared, from, wait).await? else { return Ok(Vec::new()) };
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || match shared.running.get() {
        Some(running) => read(running, from, size),
        None => Err(ReadError::NoLog),
    });
    read.await.unwrap_or(Err(ReadError::Damaged))
}

/// Notes what a collector has, then frees it.
pub(super) async fn collected(
    shared: &Arc<Shared>,
    client: &Label,
    next: u64,
) -> Result<Recorded, ReadError> {
    let running = shared.running.get().ok_or(ReadError::NoLog)?;
    if next > shared.tree.size() {
        return Err(beyond(shared, running, client, next).await);
    }
    let had = |(name, had): &(Label, u64)| name == client && *had >= next;
    if shared.standing.lock().collected.iter().any(had) {
        // Said before, and durable since.
        return Ok(Recorded(()));
    }
    let event = Event::Collected { client: client.clone(), next };
    let recorded = shared.record(Encoded::new((shared.clock)(), vec![event])?).await?;
    // Not before it is durable: space would be freed by what the next boot does not know.
    shared.standing.lock().collect(client, next);
    free(shared, running);
    Ok(recorded)
}

/// Frees what enough collectors have.
pub(super) fn free(shared: &Shared, running: &Running) {
    let below = {
        let terms = shared.terms();
        shared.standing.lock().free_below(terms.collectors_required, &terms.clients)
    };
    let mut ledger = running.ledger.lock();
    ledger.free(below);
    shared.room.store(ledger.room(), Ordering::Release);
}

/// A collector has seen more of this log than the disk holds: the disk is an older one.
async fn beyond(shared: &Shared, running: &Running, client: &Label, next: u64) -> ReadError {
    let log = running.keys.identity.log;
    let known = {
        let acknowledged = shared
            .terms()
            .acknowledged
            .iter()
            .any(|(host, id)| *host == running.host && *id == log);
        let mut standing = shared.standing.lock();
        let known = acknowledged || standing.rolled_back.is_some();
        if !known {
            standing.rolled_back = Some(log);
        }
        known
    };
    if !known {
        let name = Slug::fixed(ROLLED_BACK);
        let event = Event::Alarm { name, client: Some(client.clone()), value: Some(next) };
        let recorded = match Encoded::new((shared.clock)(), vec![event]) {
            Ok(encoded) => shared.record(encoded).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            return error.into();
        }
    }
    ReadError::BeyondHead
}

fn read(running: &Running, from: u64, size: u64) -> Result<Vec<Closed>, ReadError> {
    let located = {
        let mut ledger = running.ledger.lock();
        if from < ledger.first() {
            replay::extend_back(&running.ring, &running.keys, &mut ledger, from);
        }
        ledger.locate(from)
    };
    let (mut number, mut position) = located.ok_or(ReadError::Gone)?;
    let mut out = Vec::new();
    let mut bytes = 0;
    while number < size && (out.is_empty() || bytes < ANSWER_BYTES) {
        let found = replay::read_block(&running.ring, &running.keys, position)
            .map_err(|_: io::Error| ReadError::Damaged)?;
        let Some((header, body)) = found.filter(|(header, _)| header.number == number) else {
            // Overwritten while it was read, or damaged.
            let gone = running.ledger.lock().locate(from).is_none();
            return Err(if gone { ReadError::Gone } else { ReadError::Damaged });
        };
        if number >= from {
            bytes += body.records.len();
            out.push(Closed { number, records: body.records });
        }
        position = running.ring.fit(position + header.units(), TAIL_UNITS);
        number += 1;
    }
    Ok(out)
}

/// Counts a waiting collector for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
