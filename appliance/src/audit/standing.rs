//! What earlier records add up to and snapshots carry on: the newest tick, what collectors have,
//! whether a rollback waits for the signers, and what other rooms keep.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_formats::{
    audit::record::{Event, Record},
    bundle::body::Label,
    digest::Digest,
};

/// Bytes of all sections of other rooms together: a snapshot must fit a record.
pub(super) const SECTIONS_BYTES: usize = 16 * 1024;

/// Collectors whose acknowledgements are kept.
const COLLECTORS: usize = 16;

#[derive(Default)]
pub(super) struct Standing(Mutex<Values>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) tick: u64,
    pub(super) collected: Vec<(Label, u64)>,
    pub(super) rolled_back: Option<Digest>,
    pub(super) sections: Vec<(u16, Vec<u8>)>,
}

impl Standing {
    pub(super) fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Values {
        self.lock().clone()
    }
}

impl Values {
    /// Takes over what a record says. `log`: the id of the log that holds it.
    pub(super) fn apply(&mut self, record: &Record, log: Digest) {
        match &record.event {
            Event::Begin(begin) => {
                *self = Self { rolled_back: begin.rolled_back.then_some(log), ..Self::default() };
            }
            Event::Snapshot(snapshot) => {
                *self = Self {
                    tick: snapshot.tick,
                    collected: snapshot.collected.clone(),
                    rolled_back: snapshot.rolled_back,
                    sections: snapshot.sections.clone(),
                };
            }
            Event::Tick { value } => self.tick = *value,
            Event::Collected { client, next } => self.collect(client, *next),
            Event::Alarm { name, .. } if name.as_str() == super::ROLLED_BACK => {
                self.rolled_back = Some(log);
            }
            _ => {}
        }
    }

    /// Notes what a collector has; it never has less than before.
    pub(super) fn collect(&mut self, client: &Label, next: u64) {
        match self.collected.iter_mut().find(|(name, _)| name == client) {
            Some((_, had)) => *had = next.max(*had),
            // A site has a few collectors. One too many takes the place of the one furthest behind.
            None => {
                if self.collected.len() >= COLLECTORS {
                    self.collected.sort_by_key(|(_, next)| *next);
                    self.collected.remove(0);
                }
                self.collected.push((client.clone(), next));
            }
        }
    }

    /// Keeps a section of another room; `false`: too much for a snapshot.
    pub(super) fn keep(&mut self, section: u16, bytes: Vec<u8>) -> bool {
        let others: usize =
            self.sections.iter().filter(|(id, _)| *id != section).map(|(_, b)| b.len() + 8).sum();
        if others + bytes.len() > SECTIONS_BYTES {
            return false;
        }
        match self.sections.binary_search_by_key(&section, |(id, _)| *id) {
            Ok(at) => self.sections[at].1 = bytes,
            Err(at) => self.sections.insert(at, (section, bytes)),
        }
        true
    }

    /// The number below which every block is with enough collectors that the bundle lists.
    pub(super) fn free_below(&self, required: u8, clients: &[Label]) -> u64 {
        let mut have: BTreeMap<&Label, u64> = BTreeMap::new();
        for (client, next) in &self.collected {
            if clients.contains(client) {
                have.insert(client, *next);
            }
        }
        let mut have: Vec<u64> = have.into_values().collect();
        have.sort_unstable_by(|a, b| b.cmp(a));
        have.get(usize::from(required.max(1)) - 1).copied().unwrap_or(0)
    }
}
