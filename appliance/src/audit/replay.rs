//! Opening what is on the disk: the newest tail that opens leads to the newest snapshot, from there the
//! walk goes over every closed block to the end. Everything is authenticated before it is believed,
//! and every block must name the leaf of the one before.

use std::{io, sync::Arc};

use casemate_core::root::Chain;
use casemate_formats::{
    audit::{
        block::{self, Body, Header, MAX_BYTES},
        record::{Event, Origin, Record},
        tree::Frontier,
    },
    digest::Digest,
    state::{UNIT, header::TAIL_UNITS},
};

use super::{
    Terms,
    book::Opening,
    keys::LogKeys,
    ledger::{Class, Ledger, Spent},
    standing::Values,
};
use crate::state::Ring;

/// What is on the disk.
pub(super) enum Found {
    /// Nothing was ever written.
    Blank,
    /// Something that cannot be continued or read: why, the log id it claims, and a position after
    /// which a new log leaves it in peace.
    Closed { reason: &'static str, log: Option<Digest>, position: u64 },
    /// A log that opens.
    Log(Box<Replayed>),
}

/// A log that opened.
pub(super) struct Replayed {
    pub(super) opening: Opening,
    pub(super) values: Values,
    pub(super) ledger: Ledger,
    /// Records seen.
    pub(super) records: u64,
    /// A tail place holds something that does not open: a write that a power cut tore, or damage.
    pub(super) torn: bool,
}

/// Looks at the ring. `visit` sees every record from the newest snapshot on, in order.
pub(super) fn open(
    ring: &Ring,
    chain: &Chain,
    own: &Origin,
    terms: &Terms,
    visit: &mut dyn FnMut(&Record),
) -> io::Result<Found> {
    let tails = [Tail::read(ring, 0, chain, own)?, Tail::read(ring, 1, chain, own)?];
    let torn = tails.iter().any(|tail| matches!(tail, Tail::Closed { .. }));
    let position = tails.iter().map(Tail::position).max().unwrap_or(0);
    let claimed = tails.iter().find_map(Tail::claimed);
    let mut newest: Option<(usize, Opened)> = None;
    for (place, tail) in tails.into_iter().enumerate() {
        if let Tail::Opened(opened) = tail
            && newest.as_ref().is_none_or(|(_, other)| opened.header.write > other.header.write)
        {
            newest = Some((place, *opened));
        }
    }
    let Some((place, tail)) = newest else {
        return Ok(match claimed {
            None if !torn => Found::Blank,
            log => Found::Closed { reason: "ring-does-not-open", log, position },
        });
    };
    let log = tail.header.log;
    let closed = |reason| Found::Closed { reason, log: Some(log), position };
    let mut walk = Walk::new(ring, tail.keys, log, tail.header.snapshot, terms, visit);
    match walk.run(own, &tail.header, &tail.body) {
        Ok(open) => Ok(Found::Log(Box::new(walk.finish(open, own, place, torn)))),
        Err(Stop::Io(error)) => Err(error),
        Err(Stop::Reason(reason)) => Ok(closed(reason)),
    }
}

/// What a tail place holds.
enum Tail {
    Blank,
    Closed { log: Option<Digest>, position: u64 },
    Opened(Box<Opened>),
}

struct Opened {
    header: Header,
    body: Body,
    keys: Arc<LogKeys>,
}

impl Tail {
    fn read(ring: &Ring, place: usize, chain: &Chain, own: &Origin) -> io::Result<Self> {
        let mut bytes = vec![0; MAX_BYTES];
        ring.read_tail(place, &mut bytes)?;
        if casemate_formats::state::blank(&bytes[..UNIT]) {
            return Ok(Self::Blank);
        }
        let Ok(header) = Header::decode(&bytes) else {
            return Ok(Self::Closed { log: None, position: 0 });
        };
        // The claimed position is not authentic: believed only as far as it can do no harm.
        let position = header.position.min(1 << 62) + TAIL_UNITS;
        let closed = Self::Closed { log: Some(header.log), position };
        let Some(keys) = LogKeys::derive(chain, header.generation, header.log, own) else {
            return Ok(closed);
        };
        Ok(match block::open(&bytes, &keys) {
            Ok((header, body)) if !header.closed => {
                Self::Opened(Box::new(Opened { header, body, keys: Arc::new(keys) }))
            }
            _ => closed,
        })
    }

    fn position(&self) -> u64 {
        match self {
            Self::Blank => 0,
            Self::Closed { position, .. } => *position,
            Self::Opened(opened) => opened.header.position + TAIL_UNITS,
        }
    }

    fn claimed(&self) -> Option<Digest> {
        match self {
            Self::Closed { log, .. } => *log,
            _ => None,
        }
    }
}

enum Stop {
    Io(io::Error),
    Reason(&'static str),
}

const DAMAGED: Stop = Stop::Reason("ring-damaged");

/// Reads the block at a position, if a whole one of this log stands there.
pub(super) fn read_block(
    ring: &Ring,
    keys: &LogKeys,
    position: u64,
) -> io::Result<Option<(Header, Body)>> {
    let mut bytes = vec![0; UNIT];
    ring.read(position, &mut bytes)?;
    let Ok(header) = Header::decode(&bytes) else { return Ok(None) };
    if header.bytes() > UNIT {
        bytes.resize(header.bytes(), 0);
        ring.read(position, &mut bytes)?;
    }
    let opened = block::open(&bytes, keys).ok();
    Ok(opened.filter(|(header, _)| {
        header.log == keys.identity.log && header.closed && header.position == position
    }))
}

struct Walk<'a> {
    ring: &'a Ring,
    keys: Arc<LogKeys>,
    log: Digest,
    visit: &'a mut dyn FnMut(&Record),
    terms: &'a Terms,
    values: Values,
    frontier: Frontier,
    link: Digest,
    position: u64,
    snapshot: (u64, u64),
    write: u64,
    tail_write: u64,
    ledger: Option<Ledger>,
    records: u64,
}

/// What the walk ended at: the open block's durable records.
struct Open(Vec<u8>);

impl<'a> Walk<'a> {
    fn new(
        ring: &'a Ring,
        keys: Arc<LogKeys>,
        log: Digest,
        position: u64,
        terms: &'a Terms,
        visit: &'a mut dyn FnMut(&Record),
    ) -> Self {
        Self {
            ring,
            keys,
            log,
            visit,
            terms,
            values: Values::default(),
            frontier: Frontier::new(),
            link: Digest::ZERO,
            position,
            snapshot: (0, position),
            write: 0,
            tail_write: 0,
            ledger: None,
            records: 0,
        }
    }

    fn run(&mut self, own: &Origin, tail: &Header, body: &Body) -> Result<Open, Stop> {
        self.write = tail.write;
        self.tail_write = tail.write;
        let mut first = true;
        while let Some((header, closed)) = self.next_closed(first)? {
            self.block(own, &header, &closed, first)?;
            let units = header.units();
            let leaf = block::leaf(&closed.records);
            self.frontier.push(leaf);
            self.link = leaf;
            let next = self.ring.fit(self.position + units, TAIL_UNITS);
            let spent = spent(&closed.records);
            if let Some(ledger) = &mut self.ledger {
                ledger.closed(self.position, next, spent);
            }
            self.position = next;
            self.write = self.write.max(header.write);
            first = false;
        }
        // The walk ended before the block that a tail place holds: one in between is gone. (Before the
        // first block was read, the tail itself must be that first block.)
        let at = if first { tail.number } else { self.frontier.size() };
        if at < tail.number || first && tail.position != self.position {
            return Err(DAMAGED);
        }
        if at > tail.number {
            return Ok(Open(Vec::new()));
        }
        if tail.position != self.position || !first && body.link != self.link {
            return Err(DAMAGED);
        }
        self.block(own, tail, body, first)?;
        Ok(Open(body.records.clone()))
    }

    /// The closed block that comes next, if there is one.
    fn next_closed(&self, first: bool) -> Result<Option<(Header, Body)>, Stop> {
        let found = read_block(self.ring, &self.keys, self.position).map_err(Stop::Io)?;
        Ok(found.filter(|(header, body)| {
            first || header.number == self.frontier.size() && body.link == self.link
        }))
    }

    /// Takes over what a block says.
    fn block(
        &mut self,
        own: &Origin,
        header: &Header,
        body: &Body,
        first: bool,
    ) -> Result<(), Stop> {
        let records = Record::decode_all(&body.records).map_err(|_| DAMAGED)?;
        if first {
            self.begin(own, header, body, records.first())?;
        } else if let Some(Event::Snapshot(snapshot)) = records.first().map(|record| &record.event)
        {
            if snapshot.size != self.frontier.size() || snapshot.frontier != self.frontier.nodes() {
                return Err(DAMAGED);
            }
            self.snapshot = (header.number, self.position);
            if let Some(ledger) = &mut self.ledger {
                ledger.begin_segment(header.number, self.position);
            }
        }
        for record in &records {
            self.values.apply(record, self.log);
            (self.visit)(record);
            self.records += 1;
        }
        Ok(())
    }

    /// The first block of a replay begins with a snapshot, or with the beginning of the log.
    fn begin(
        &mut self,
        own: &Origin,
        header: &Header,
        body: &Body,
        record: Option<&Record>,
    ) -> Result<(), Stop> {
        let (origin, frontier, before) = match record.map(|record| &record.event) {
            Some(Event::Begin(begin)) if header.number == 0 => {
                (&begin.origin, Frontier::new(), None)
            }
            Some(Event::Snapshot(snapshot)) if snapshot.size == header.number => {
                let nodes = snapshot.frontier.clone();
                let frontier = Frontier::from_parts(snapshot.size, nodes).ok_or(DAMAGED)?;
                let before = snapshot.previous.map(|link| (link, snapshot.spent.clone()));
                (&snapshot.origin, frontier, before)
            }
            _ => return Err(DAMAGED),
        };
        if origin != own {
            return Err(Stop::Reason("foreign-log"));
        }
        self.frontier = frontier;
        self.link = body.link;
        self.snapshot = (header.number, self.position);
        let mut ledger = Ledger::new(self.ring.units(), header.number, self.position, self.terms);
        ledger.set_before(before);
        self.ledger = Some(ledger);
        Ok(())
    }

    fn finish(self, open: Open, own: &Origin, place: usize, torn: bool) -> Replayed {
        let terms = self.terms;
        let mut ledger = self.ledger.unwrap_or_else(|| {
            Ledger::new(self.ring.units(), self.frontier.size(), self.position, terms)
        });
        let free = self.values.free_below(terms.collectors_required, &terms.clients);
        ledger.free(free);
        extend_back(self.ring, &self.keys, &mut ledger, free);
        Replayed {
            opening: Opening {
                ring: self.ring.clone(),
                keys: self.keys,
                origin: own.clone(),
                frontier: self.frontier,
                link: self.link,
                position: self.position,
                snapshot: self.snapshot,
                write: self.write,
                tail_write: Some(self.tail_write),
                place: place ^ 1,
                records: open.0,
            },
            values: self.values,
            ledger,
            records: self.records,
            torn,
        }
    }
}

/// Adds older segments to the ledger until it knows block `number` or the ring ends.
pub(super) fn extend_back(ring: &Ring, keys: &LogKeys, ledger: &mut Ledger, number: u64) {
    while ledger.first() > number {
        let Some(link) = ledger.before() else { return };
        let Ok(Some((header, body))) = read_block(ring, keys, link.1) else { return };
        let first = Record::decode(&body.records).map(|(record, _)| record.event);
        let before = match first {
            Ok(Event::Snapshot(snapshot)) => snapshot.previous.map(|link| (link, snapshot.spent)),
            _ => None,
        };
        if header.number != link.0 {
            return;
        }
        ledger.extend_back(link, before);
    }
}

/// Whose records a block holds.
pub(super) fn spent(records: &[u8]) -> Spent {
    let mut out = Spent::default();
    let mut rest = records;
    while let Ok((record, left)) = Record::decode(rest) {
        out.add(&class(&record.event), (rest.len() - left.len()) as u64);
        rest = left;
    }
    out
}

/// On whose account an event goes.
pub(super) fn class(event: &Event) -> Class {
    match event {
        Event::Item(item) => Class::Client(item.client.clone()),
        Event::Call { client: Some(client), .. } | Event::Coalesced { client, .. } => {
            Class::Client(client.clone())
        }
        Event::Collected { .. } => Class::Collector,
        _ => Class::System,
    }
}
