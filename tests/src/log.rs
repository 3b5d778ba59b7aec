//! An audit log on a test disk, with a tick counter in memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use casemate_appliance::{
    audit::{Log, Start, StartError, Started, Terms, TickCounter, TickError},
    state::{State, header::Geometry},
};
use casemate_core::root::{Chain, Root, fingerprint};
use casemate_formats::{
    audit::record::{Event, Item, Operation, Outcome, Record, RequestId, Stamp},
    bundle::body::{Established, Label},
};

use crate::disk::TestDisk;

/// Units of a `state` with the smallest ring.
pub const SMALL: u64 = 802 + 1024;

/// A counter of a TPM that was never cleared. Clones share it.
#[derive(Clone, Default)]
pub struct Counter {
    value: Arc<AtomicU64>,
    failing: Arc<AtomicBool>,
}

impl Counter {
    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::SeqCst)
    }

    /// Sets it: another TPM, or a power cut before the increment.
    pub fn set(&self, value: u64) {
        self.value.store(value, Ordering::SeqCst);
    }

    /// Makes increments fail, or work again.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl TickCounter for Counter {
    fn read(&mut self) -> Result<u64, TickError> {
        Ok(self.value())
    }

    fn increment(&mut self) -> Result<u64, TickError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(TickError);
        }
        Ok(self.value.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// A box as far as its log is concerned.
pub struct Rig {
    /// Its disk.
    pub disk: TestDisk,
    /// Its counter.
    pub counter: Counter,
    /// Its bundle's word.
    pub terms: Terms,
    /// Its name.
    pub host: Label,
    /// Its root's only byte.
    pub root: u8,
    /// Whether the root comes from a sealed blob.
    pub from_blob: bool,
}

/// A name.
///
/// # Panics
/// It is not one.
#[must_use]
pub fn label(text: &str) -> Label {
    Label::parse(text).expect("a name")
}

/// The chain of one root.
///
/// # Panics
/// Never: the fingerprint is its own.
#[must_use]
pub fn chain(byte: u8) -> Chain {
    let root = Root::from_random(zeroize::Zeroizing::new([byte; 32]));
    let namespace = label("test");
    let established = Established {
        generation: 1,
        fingerprint: fingerprint(&root, 1, &namespace),
        commitments: heapless::Vec::new(),
        acks: heapless::Vec::new(),
        authorities: Vec::new(),
        serving: 1,
        wrapped: Vec::new(),
    };
    Chain::open(root, &established, &namespace).expect("the fingerprint is its own")
}

impl Rig {
    /// A new box with the smallest ring; one collector has to have a block.
    #[must_use]
    pub fn new() -> Self {
        Self {
            disk: TestDisk::blank(SMALL),
            counter: Counter::default(),
            terms: Terms {
                collectors_required: 1,
                overwrite: false,
                clients: vec![label("rails"), label("jobs"), label("auditor")],
                acknowledged: Vec::new(),
            },
            host: label("box-1"),
            root: 7,
            from_blob: false,
        }
    }

    /// The same box with another disk.
    #[must_use]
    pub fn with_disk(&self, disk: TestDisk) -> Self {
        Self {
            disk,
            counter: self.counter.clone(),
            terms: self.terms.clone(),
            host: self.host.clone(),
            root: self.root,
            from_blob: self.from_blob,
        }
    }

    /// Boots: opens the disk and the log on it; gives the records that were replayed.
    ///
    /// # Errors
    /// As [`Log::start`]; a disk that cannot be opened is [`StartError::Disk`].
    pub fn boot(&self) -> Result<(Log, Started, Vec<Record>), StartError> {
        let log = Log::before_root(clock());
        let (started, replayed) = self.start(&log)?;
        Ok((log, started, replayed))
    }

    /// Starts a log that may hold records from before the root.
    ///
    /// # Errors
    /// As [`Log::start`].
    pub fn start(&self, log: &Log) -> Result<(Started, Vec<Record>), StartError> {
        let state = State::open(self.disk.blocks()).map_err(|_| StartError::Disk)?;
        let chain = chain(self.root);
        let mut replayed = Vec::new();
        let start = Start {
            ring: state.ring(),
            chain: &chain,
            namespace: label("test"),
            host: self.host.clone(),
            from_blob: self.from_blob,
            tick: Box::new(self.counter.clone()),
            terms: self.terms.clone(),
        };
        let started = log.start(start, &mut |record| replayed.push(record.clone()))?;
        Ok((started, replayed))
    }

    /// First unit of its ring.
    ///
    /// # Panics
    /// The disk is too small.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        Geometry::of(casemate_appliance::state::Blocks::units(&self.disk)).expect("large enough")
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that moves by one with every look.
pub fn clock() -> impl Fn() -> Stamp + Send + Sync + 'static {
    let now = AtomicU64::new(1);
    move || {
        let monotonic_ms = now.fetch_add(1, Ordering::Relaxed);
        Stamp { unix_ms: 1_800_000_000_000 + monotonic_ms, monotonic_ms }
    }
}

/// A decrypted item of `client` that carries a number.
///
/// # Panics
/// The client's name is none.
#[must_use]
pub fn item(client: &str, number: u32) -> Event {
    Event::Item(Item {
        client: label(client),
        operation: Operation::Decrypt,
        keyring: Some(label("pii")),
        version: Some(1),
        outcome: Outcome::Done,
        request: RequestId::parse(&format!("r-{number}")).expect("an id"),
        trace: Some([7; 16]),
        bytes: number,
        subject: None,
        context: None,
        day: Some(20_000),
    })
}

/// The numbers of all items among records.
#[must_use]
pub fn numbers(records: &[Record]) -> Vec<u32> {
    records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Item(item) => Some(item.bytes),
            _ => None,
        })
        .collect()
}
