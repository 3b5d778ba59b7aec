//! The log as it is written: one open block, the tail places it alternates between, the ring that
//! closed blocks go to, the tree over them. Knows no thread and no clock; every write that returned
//! is durable.
//!
//! * A write of the open block goes to the tail place that does not hold its last durable version.
//! * A closed block goes to its place in the ring with all its records; only then the next block
//!   may use a tail place. So at any instant one whole version of every durable record stands.
//! * Every [`SEGMENT_BLOCKS`]th block begins with a snapshot and is written to a tail place before it
//!   closes: a boot finds the newest snapshot through either tail place, and walks on from there.

use std::{io, sync::Arc};

use casemate_formats::{
    audit::{
        block::{self, Body, Header, MAX_BYTES, MAX_RECORDS},
        record::{Event, Origin, Record, Snapshot, Stamp},
        tree::Frontier,
    },
    digest::Digest,
    state::{UNIT, header::TAIL_UNITS},
};

use super::{
    keys::LogKeys,
    ledger::{Class, Ledger, Spent},
    replay::{self, read_block},
    shared::Tree,
    standing::Standing,
};
use crate::{pulse, state::Ring};

/// Blocks from one snapshot to the next: bounds what a boot replays.
pub(super) const SEGMENT_BLOCKS: u64 = 64;
/// A block with so many bytes of records closes at the next commit. Small enough that rewriting the
/// open block costs about as much as one unit, large enough that padding stays below a fifth.
const FULL: usize = 12 * 1024;

pub(super) struct Book {
    pub(super) ring: Ring,
    pub(super) keys: Arc<LogKeys>,
    pub(super) origin: Origin,
    /// Over the closed blocks; its size is the open block's number.
    pub(super) frontier: Frontier,
    pub(super) link: Digest,
    /// Where the open block will lie.
    pub(super) position: u64,
    /// Number and position of the block with the newest snapshot, maybe the open one.
    pub(super) snapshot: (u64, u64),
    pub(super) write: u64,
    /// The tail place that is written next.
    pub(super) place: usize,
    /// Records of the open block.
    records: Vec<u8>,
    /// How many bytes of them stay when a commit fails.
    kept: usize,
    /// How many bytes of them are durable.
    durable: usize,
    spent: Spent,
    /// Write count of what the tail place not written next holds, and position of the newest closed
    /// block, as far as this boot wrote or read them.
    last_tail: Option<u64>,
    last_closed: Option<u64>,
    /// The open block begins with a snapshot that no tail place holds yet.
    must_tail: bool,
}

/// Where a book is opened: after a replay, or at the beginning of a log.
pub(super) struct Opening {
    pub(super) ring: Ring,
    pub(super) keys: Arc<LogKeys>,
    pub(super) origin: Origin,
    pub(super) frontier: Frontier,
    pub(super) link: Digest,
    pub(super) position: u64,
    pub(super) snapshot: (u64, u64),
    pub(super) write: u64,
    /// Write count of the newest tail.
    pub(super) tail_write: Option<u64>,
    pub(super) place: usize,
    /// Durable records of the open block.
    pub(super) records: Vec<u8>,
}

impl Book {
    pub(super) fn new(opening: Opening) -> Self {
        let Opening {
            ring,
            keys,
            origin,
            frontier,
            link,
            position,
            snapshot,
            write,
            tail_write,
            place,
            records,
        } = opening;
        let position = ring.fit(position, TAIL_UNITS);
        let snapshot = if frontier.size() == 0 { (0, position) } else { snapshot };
        Self {
            kept: records.len(),
            durable: records.len(),
            must_tail: frontier.size() == 0 && records.is_empty(),
            // What an earlier boot wrote into the open block stays on the accounts it went on.
            spent: replay::spent(&records),
            last_tail: tail_write,
            last_closed: None,
            ring,
            keys,
            origin,
            frontier,
            link,
            position,
            snapshot,
            write,
            place,
            records,
        }
    }

    /// Closed blocks.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Bytes of records in the open block.
    pub(super) fn open_bytes(&self) -> usize {
        self.records.len()
    }

    /// Appends encoded records of one class; closes blocks that they fill.
    pub(super) fn append(
        &mut self,
        framed: &[u8],
        class: &Class,
        context: &Context<'_>,
    ) -> io::Result<()> {
        let mut rest = framed;
        while let Some((record, left)) = split_framed(rest) {
            if self.records.len() + record.len() > MAX_RECORDS {
                self.close(context)?;
            }
            self.records.extend_from_slice(record);
            self.spent.add(class, record.len() as u64);
            rest = left;
        }
        Ok(())
    }

    /// Makes everything appended durable; closes the block when it is full or `close` says so.
    pub(super) fn commit(&mut self, close: bool, context: &Context<'_>) -> io::Result<()> {
        if !self.records.is_empty() && (close || self.records.len() >= FULL) {
            self.close(context)
        } else if self.records.len() > self.durable {
            self.write_tail()
        } else {
            Ok(())
        }
    }

    /// Forgets what a failed commit left in the open block.
    pub(super) fn roll_back(&mut self) {
        self.records.truncate(self.kept);
        self.spent = replay::spent(&self.records);
    }

    /// Begins the open block with a snapshot when its segment is full. Called whenever a block begins.
    pub(super) fn begin_block(&mut self, context: &Context<'_>) {
        let (number, position) = self.snapshot;
        let due = self.size() - number >= SEGMENT_BLOCKS
            || self.position - position >= self.ring.units() / 32;
        if !due || !self.records.is_empty() {
            return;
        }
        let standing = context.standing.snapshot();
        let spent = context.ledger.lock().begin_segment(self.size(), self.position);
        let record = Record {
            at: (context.clock)(),
            event: Event::Snapshot(Snapshot {
                origin: self.origin.clone(),
                size: self.size(),
                frontier: self.frontier.nodes().to_vec(),
                tick: standing.tick,
                collected: standing.collected,
                previous: Some(self.snapshot),
                spent,
                rolled_back: standing.rolled_back,
                sections: standing.sections,
            }),
        };
        // All its parts are bounded; were it too long all the same, the segment just goes on.
        if record.encode_into(&mut self.records).is_ok() {
            self.spent.add(&Class::System, self.records.len() as u64);
            self.snapshot = (self.size(), self.position);
            self.kept = self.records.len();
            self.must_tail = true;
        }
    }

    /// Whether the disk still holds the log's end as it was last written: asked before the first write
    /// after a failure, since what came back may be another disk, or this one from another time.
    pub(super) fn stands(&self) -> bool {
        let tail = self.last_tail.is_none_or(|write| {
            let mut bytes = vec![0; MAX_BYTES];
            self.ring.read_tail(self.place ^ 1, &mut bytes).is_ok()
                && block::open(&bytes, &*self.keys).is_ok_and(|(header, _)| header.write == write)
        });
        let closed = self.last_closed.is_none_or(|position| {
            let read = read_block(&self.ring, &self.keys, position);
            read.is_ok_and(|found| found.is_some_and(|(_, body)| leaf_of(&body) == self.link))
        });
        tail && closed
    }

    fn write_tail(&mut self) -> io::Result<()> {
        let sealed = self.seal(false);
        pulse::LOG.beat();
        self.ring.write_tail(self.place, &sealed)?;
        self.place ^= 1;
        self.last_tail = Some(self.write);
        self.durable = self.records.len();
        self.kept = self.durable;
        self.must_tail = false;
        Ok(())
    }

    fn close(&mut self, context: &Context<'_>) -> io::Result<()> {
        if self.must_tail {
            self.write_tail()?;
        }
        let sealed = self.seal(true);
        pulse::LOG.beat();
        let units = (sealed.len() / UNIT) as u64;
        context.ledger.lock().check_overwrite(self.position + units)?;
        self.ring.write(self.position, &sealed)?;
        let leaf = block::leaf(&self.records);
        self.frontier.push(leaf);
        self.link = leaf;
        let next = self.ring.fit(self.position + units, TAIL_UNITS);
        context.ledger.lock().closed(self.position, next, std::mem::take(&mut self.spent));
        self.last_closed = Some(self.position);
        self.position = next;
        self.records.clear();
        self.kept = 0;
        self.durable = 0;
        context.tree.publish(self.frontier.size(), self.frontier.root());
        self.begin_block(context);
        Ok(())
    }

    fn seal(&mut self, closed: bool) -> Vec<u8> {
        self.write += 1;
        let mut nonce = [0; 24];
        random_nonce(&mut nonce);
        let header = Header {
            log: self.keys.identity.log,
            number: self.size(),
            write: self.write,
            position: self.position,
            snapshot: self.snapshot.1,
            generation: self.keys.generation,
            length: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            closed,
            nonce,
        };
        block::seal(&header, &self.link, &self.records, &*self.keys)
    }
}

/// What a book tells and asks while it writes.
pub(super) struct Context<'a> {
    pub(super) ledger: &'a LedgerLock,
    pub(super) standing: &'a Standing,
    pub(super) clock: &'a (dyn Fn() -> Stamp + Send + Sync),
    /// Told after every closed block.
    pub(super) tree: &'a Tree,
}

/// A ledger that two threads use.
pub(super) struct LedgerLock(std::sync::Mutex<Ledger>);

impl LedgerLock {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self(std::sync::Mutex::new(ledger))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The first record of an encoded list, with its length, and the rest.
fn split_framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_be_bytes(*bytes.first_chunk::<2>()?);
    bytes.split_at_checked(2 + usize::from(length))
}

fn leaf_of(body: &Body) -> Digest {
    block::leaf(&body.records)
}

fn random_nonce(nonce: &mut [u8; 24]) {
    getrandom::fill(nonce).expect("the kernel's generator is seeded before PID 1 goes on");
}
