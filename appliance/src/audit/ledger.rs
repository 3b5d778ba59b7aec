//! Who holds how much of the ring: segments (from one snapshot to the next) with what each client
//! spent in them, the reserved part of each client and of the box itself, and what is free because
//! enough collectors have it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use casemate_formats::{bundle::body::Label, state::UNIT};

use super::Terms;

/// On whose account a record goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// The box: boot, bundle, tick, alarm.
    System,
    /// A client.
    Client(Label),
    /// Acknowledgements of collectors: what makes room is always admitted.
    Collector,
}

/// Bytes of one block by class.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent(Vec<(Class, u64)>);

/// Units between what may be filled and what exists: the largest block twice, what is skipped where
/// the ring wraps, and room for acknowledgements.
const MARGIN_UNITS: u64 = 64;
/// Part of the capacity (in eighths) that is reserved for the box itself, and for all clients.
const SYSTEM_EIGHTHS: u64 = 1;
const CLIENTS_EIGHTHS: u64 = 3;
/// When so much is left (in eighths) of what nobody has reserved, health warns: a client is refused once
/// that and its own part are used up.
const WARNING_EIGHTHS: u64 = 2;

/// Accounts that a snapshot names: at 43 bytes each it stays far below a record's limit.
const SPENT_ACCOUNTS: usize = 128;

struct Segment {
    number: u64,
    position: u64,
    spent: BTreeMap<Class, u64>,
}

/// Number and position of a segment, and what it spent, as its successor's snapshot says.
pub(super) type Before = ((u64, u64), Vec<(Option<Label>, u64)>);

pub(super) struct Ledger {
    ring_units: u64,
    /// Position after the newest closed block.
    head: u64,
    /// Oldest first; the last one grows.
    segments: VecDeque<Segment>,
    /// Positions of the last segment's blocks.
    recent: Vec<u64>,
    /// The segment before the first one, where there may be one on the disk.
    before: Option<Before>,
    /// What unacknowledged segments hold, by class.
    usage: BTreeMap<Class, u64>,
    /// How many segments at the front are acknowledged.
    freed: usize,
    free_below: u64,
    overwrite: bool,
    clients: Vec<Label>,
}

impl Spent {
    pub(super) fn add(&mut self, class: &Class, bytes: u64) {
        match self.0.iter_mut().find(|(other, _)| other == class) {
            Some((_, sum)) => *sum += bytes,
            None => self.0.push((class.clone(), bytes)),
        }
    }
}

impl Ledger {
    /// A ledger whose first segment begins at a block and position.
    pub(super) fn new(ring_units: u64, number: u64, position: u64, terms: &Terms) -> Self {
        let first = Segment { number, position, spent: BTreeMap::new() };
        Self {
            ring_units,
            head: position,
            segments: VecDeque::from([first]),
            recent: Vec::new(),
            before: None,
            usage: BTreeMap::new(),
            freed: 0,
            free_below: 0,
            overwrite: terms.overwrite,
            clients: sorted(terms),
        }
    }

    /// A block was closed (or found closed) at `position`; the next one begins at `next`. The whole
    /// block is charged to those whose records it holds, by their share.
    pub(super) fn closed(&mut self, position: u64, next: u64, spent: Spent) {
        self.recent.push(position);
        let units = next - self.head;
        self.head = next;
        let records: u64 = spent.0.iter().map(|(_, bytes)| bytes).sum();
        for (class, bytes) in spent.0 {
            let charged = units * UNIT as u64 * bytes / records.max(1);
            if let Some(last) = self.segments.back_mut() {
                *last.spent.entry(class.clone()).or_default() += charged;
            }
            *self.usage.entry(class).or_default() += charged;
        }
        while self.segments.len() > 1
            && self.segments.front().is_some_and(|s| s.position + self.ring_units < self.head)
        {
            self.drop_front();
        }
    }

    /// A segment begins; gives what the one before spent, for its snapshot.
    pub(super) fn begin_segment(
        &mut self,
        number: u64,
        position: u64,
    ) -> Vec<(Option<Label>, u64)> {
        let spent = self.segments.back().map(|segment| listed(&segment.spent)).unwrap_or_default();
        self.segments.push_back(Segment { number, position, spent: BTreeMap::new() });
        self.recent.clear();
        self.free(self.free_below);
        spent
    }

    /// Takes in the segment before the first one; `before`: the one before that.
    pub(super) fn extend_back(&mut self, (number, position): (u64, u64), before: Option<Before>) {
        let spent = std::mem::replace(&mut self.before, before).map(|(_, spent)| spent);
        let spent: BTreeMap<Class, u64> = spent
            .unwrap_or_default()
            .into_iter()
            .map(|(client, bytes)| (client.map_or(Class::System, Class::Client), bytes))
            .collect();
        if self.freed > 0 {
            // What came after it is free, so it is.
            self.freed += 1;
        } else {
            for (class, bytes) in &spent {
                *self.usage.entry(class.clone()).or_default() += bytes;
            }
        }
        self.segments.push_front(Segment { number, position, spent });
        self.recount();
    }

    /// Where the segment before the first one begins, if it is still on the disk.
    pub(super) fn before(&self) -> Option<(u64, u64)> {
        let (link, _) = self.before.as_ref()?;
        self.readable(link.1).then_some(*link)
    }

    pub(super) fn set_before(&mut self, before: Option<Before>) {
        self.before = before;
    }

    /// First block of the oldest known segment.
    pub(super) fn first(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.number)
    }

    /// Where to look for a block: number and position of a block at or before it, in its segment.
    pub(super) fn locate(&self, number: u64) -> Option<(u64, u64)> {
        let last = self.segments.back()?;
        if number >= last.number {
            let index = usize::try_from(number - last.number).ok()?;
            return Some((number, *self.recent.get(index)?));
        }
        let segment = self.segments.iter().rev().find(|segment| segment.number <= number)?;
        self.readable(segment.position).then_some((segment.number, segment.position))
    }

    /// Blocks below `number` are with enough collectors.
    pub(super) fn free(&mut self, number: u64) {
        self.free_below = number.max(self.free_below);
        self.recount();
    }

    /// A new bundle's terms.
    pub(super) fn terms(&mut self, terms: &Terms) {
        self.overwrite = terms.overwrite;
        self.clients = sorted(terms);
    }

    /// Whether `bytes` more (with `pending` ones that are admitted but not written) may go on the
    /// account of `class`: what others have not used of their reserved parts stays untouched.
    pub(super) fn admits(&self, class: &Class, bytes: u64, pending: u64) -> bool {
        if self.overwrite || *class == Class::Collector {
            return true;
        }
        let (own, each) = self.reserves();
        let reserve = |of: &Class| match of {
            Class::System => own,
            Class::Client(name) if self.clients.binary_search(name).is_ok() => each,
            Class::Client(_) | Class::Collector => 0,
        };
        let untouched =
            |of: &Class| reserve(of).saturating_sub(self.usage.get(of).copied().unwrap_or(0));
        let all = own + each * self.clients.len() as u64;
        let touched: u64 = self.usage.iter().map(|(of, used)| reserve(of).min(*used)).sum();
        let others = all.saturating_sub(touched + untouched(class));
        self.used() + pending + bytes + others <= self.capacity()
    }

    /// Bytes that anyone may write without looking at accounts.
    pub(super) fn room(&self) -> u64 {
        if self.overwrite {
            return u64::MAX;
        }
        self.unreserved().saturating_sub(self.used())
    }

    /// What is left of the capacity beside all reserved parts.
    fn unreserved(&self) -> u64 {
        let (own, each) = self.reserves();
        self.capacity().saturating_sub(own + each * self.clients.len() as u64)
    }

    /// Whether a block that ends at `end` overwrites nothing that a collector has yet to fetch.
    pub(super) fn check_overwrite(&self, end: u64) -> io::Result<()> {
        if self.overwrite || end <= self.oldest_unfreed() + self.ring_units {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::StorageFull, "unacknowledged blocks fill the ring"))
        }
    }

    /// Unacknowledged part of the capacity in thousandths, and whether that is worth a warning.
    pub(super) fn fill(&self) -> (u16, bool) {
        let thousandths = self.used().min(self.capacity()) * 1000 / self.capacity().max(1);
        let little = self.room() <= self.unreserved() * WARNING_EIGHTHS / 8;
        (u16::try_from(thousandths).unwrap_or(1000), !self.overwrite && little)
    }

    fn used(&self) -> u64 {
        (self.head - self.oldest_unfreed()) * UNIT as u64
    }

    fn capacity(&self) -> u64 {
        self.ring_units.saturating_sub(MARGIN_UNITS) * UNIT as u64
    }

    /// Reserved bytes: of the box itself, and of each client.
    fn reserves(&self) -> (u64, u64) {
        let eighth = self.capacity() / 8;
        let each = eighth * CLIENTS_EIGHTHS / (self.clients.len() as u64).max(1);
        (eighth * SYSTEM_EIGHTHS, each)
    }

    fn readable(&self, position: u64) -> bool {
        // Or about to be overwritten: then it does not open.
        position + self.ring_units >= self.head
    }

    fn oldest_unfreed(&self) -> u64 {
        self.segments.get(self.freed).map_or(self.head, |segment| segment.position)
    }

    fn recount(&mut self) {
        while self.segments.get(self.freed + 1).is_some_and(|next| next.number <= self.free_below) {
            for (class, bytes) in self.segments[self.freed].spent.clone() {
                if let Some(sum) = self.usage.get_mut(&class) {
                    *sum = sum.saturating_sub(bytes);
                }
            }
            self.freed += 1;
        }
    }

    fn drop_front(&mut self) {
        if self.freed > 0 {
            self.freed -= 1;
            self.segments.pop_front();
        } else if let Some(segment) = self.segments.pop_front() {
            for (class, bytes) in segment.spent {
                if let Some(sum) = self.usage.get_mut(&class) {
                    *sum = sum.saturating_sub(bytes);
                }
            }
        }
        self.before = None;
    }
}

fn sorted(terms: &Terms) -> Vec<Label> {
    let mut clients = terms.clients.clone();
    clients.sort_unstable();
    clients.dedup();
    clients
}

/// The largest accounts by name, what is left as the box's own.
fn listed(spent: &BTreeMap<Class, u64>) -> Vec<(Option<Label>, u64)> {
    let mut named: Vec<(&Label, u64)> = Vec::new();
    let mut own = 0;
    for (class, bytes) in spent {
        match class {
            Class::Client(client) => named.push((client, *bytes)),
            Class::System | Class::Collector => own += bytes,
        }
    }
    named.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rest = named.split_off(named.len().min(SPENT_ACCOUNTS));
    own += rest.iter().map(|(_, bytes)| bytes).sum::<u64>();
    let named = named.into_iter().map(|(client, bytes)| (Some(client.clone()), bytes));
    std::iter::once((None, own)).filter(|(_, bytes)| *bytes > 0).chain(named).collect()
}

#[cfg(test)]
mod tests;
