//! How many may come in, and for how long: caps for each client and for strangers, the timeouts of
//! every state of a connection, and the few places in which strangers are worked for.
//!
//! A connection costs at most 32 KiB while it waits, so all of them fit 64 MiB. Whoever fills a class
//! pushes out the longest waiting connection of that class, never one of another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use casemate_formats::{code::Code, digest::Digest};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Connections of one listed key: a large web tier's pools (40 processes of 12).
pub const CONNECTIONS_PER_CLIENT: usize = 512;
/// Connections of all listed keys together.
pub const CONNECTIONS_LISTED: usize = 1_536;
/// Connections that have shown no listed key (yet): a new client passes through here, so it must not
/// be full of a stranger's; the longest waiting one goes first.
pub const CONNECTIONS_STRANGE: usize = 512;
/// Strangers' requests with a body that are worked on at once, and what listed clients ask that anyone
/// may. A place is taken once the body is here.
const STRANGERS_SERVED: usize = 4;
/// Strangers who send a body that takes room (a bundle) at once; their four fill under half of it.
const STRANGERS_SENDING: usize = 4;
/// How long one of them sends before a faster one may have its place.
const SENDING_GRACE: Duration = Duration::from_secs(1);
/// How long the next one waits: by then somebody's grace is over.
const SENDING_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const SENDING_LOOK: Duration = Duration::from_millis(50);
/// TPM jobs that may wait behind the one that runs.
const TPM_QUEUE: usize = 4;

/// From the first byte to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From a request's first byte to the end of its header.
const HEADER: Duration = Duration::from_secs(10);
/// A whole body: the largest is a bundle of 768 KiB.
const BODY: Duration = Duration::from_secs(30);
/// Between requests, and while an answer waits to be read. Longer than the 60 s that proxies and
/// connection pools commonly use, so that it is they who close.
const IDLE: Duration = Duration::from_secs(75);
/// How often overdue connections are looked for.
pub const SWEEP: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// TLS handshake.
    Handshake = 0,
    /// Nothing: between requests.
    Idle = 1,
    /// Sending a request's header.
    Header = 2,
    /// Sending a request's body.
    Body = 3,
    /// Waiting for us.
    Served = 4,
}

impl Doing {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Handshake,
            1 => Self::Idle,
            2 => Self::Header,
            3 => Self::Body,
            _ => Self::Served,
        }
    }

    const fn patience(self) -> Option<Duration> {
        match self {
            Self::Handshake => Some(HANDSHAKE),
            Self::Idle => Some(IDLE),
            Self::Header => Some(HEADER),
            Self::Body => Some(BODY),
            Self::Served => None,
        }
    }
}

/// One connection, as admission sees it.
pub struct Connection {
    /// Told when it has to end.
    pub close: Notify,
    doing: AtomicU8,
    /// Milliseconds since the gate was opened.
    since: AtomicU64,
    /// Bytes of the body that it sends.
    received: AtomicU64,
    opened: Instant,
}

impl Connection {
    /// What it is doing now, and the clock of that state starts anew.
    pub fn set(&self, doing: Doing) {
        self.since.store(millis(self.opened), Ordering::Relaxed);
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// Bytes came: an idle connection begins a request.
    pub fn heard(&self) {
        if self.doing() == Doing::Idle {
            self.set(Doing::Header);
        }
    }

    /// Bytes of a body came.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether a request of it is being worked on.
    pub fn is_served(&self) -> bool {
        self.doing() == Doing::Served
    }

    fn doing(&self) -> Doing {
        Doing::from_bits(self.doing.load(Ordering::Relaxed))
    }

    fn waits(&self) -> bool {
        !self.is_served()
    }

    fn waited(&self, now: u64) -> u64 {
        now.saturating_sub(self.since.load(Ordering::Relaxed))
    }

    /// Bytes a second of the body that it sends.
    fn rate(&self, now: u64) -> u64 {
        self.received.load(Ordering::Relaxed).saturating_mul(1000) / self.waited(now).max(1)
    }

    fn overdue(&self, now: u64) -> bool {
        let waited = self.waited(now);
        self.doing().patience().is_some_and(|patience| u128::from(waited) >= patience.as_millis())
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Who is connected.
pub struct Gate {
    opened: Instant,
    inside: Mutex<Inside>,
    strangers: Arc<Semaphore>,
    senders: Mutex<Vec<Arc<Connection>>>,
    tpm_queue: Arc<Semaphore>,
    tpm: Arc<Semaphore>,
}

#[derive(Default)]
struct Inside {
    strange: Vec<Arc<Connection>>,
    listed: HashMap<Digest, Vec<Arc<Connection>>>,
    listed_total: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self {
            opened: Instant::now(),
            inside: Mutex::default(),
            strangers: Arc::new(Semaphore::new(STRANGERS_SERVED)),
            senders: Mutex::default(),
            tpm_queue: Arc::new(Semaphore::new(1 + TPM_QUEUE)),
            tpm: Arc::new(Semaphore::new(1)),
        }
    }

    /// A new connection, still a stranger. `None`: its class is full and all of it is being served.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        let connection = Arc::new(Connection {
            close: Notify::new(),
            doing: AtomicU8::new(Doing::Handshake as u8),
            since: AtomicU64::new(millis(self.opened)),
            received: AtomicU64::new(0),
            opened: self.opened,
        });
        let mut inside = self.lock();
        make_room(&mut inside.strange, CONNECTIONS_STRANGE)?;
        inside.strange.push(Arc::clone(&connection));
        Some(Pass { gate: Arc::clone(self), connection, class: Mutex::new(None) })
    }

    /// A place among the strangers that are worked for. Whoever waits for one can be pushed out.
    pub async fn stranger(&self, connection: &Connection) -> Option<OwnedSemaphorePermit> {
        connection.set(Doing::Body);
        let waiting = Arc::clone(&self.strangers).acquire_owned();
        let place = tokio::time::timeout(SWEEP, waiting).await.ok()?.ok();
        connection.set(Doing::Served);
        place
    }

    /// A place among the strangers that send a body which takes room. Where all are taken, the slowest
    /// of those who had their grace is pushed out: four who trickle cannot keep a bundle away.
    pub async fn sender(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Sender> {
        connection.set(Doing::Body);
        let looking = async {
            loop {
                if let Some(place) = self.try_sender(connection, millis(self.opened)) {
                    return place;
                }
                tokio::time::sleep(SENDING_LOOK).await;
            }
        };
        tokio::time::timeout(SENDING_PATIENCE, looking).await.ok()
    }

    fn try_sender(self: &Arc<Self>, connection: &Arc<Connection>, now: u64) -> Option<Sender> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= STRANGERS_SENDING {
            let slow = senders.iter().enumerate().filter(|(_, c)| {
                c.doing() == Doing::Body && u128::from(c.waited(now)) >= SENDING_GRACE.as_millis()
            });
            let (slowest, _) = slow.min_by_key(|(_, c)| c.rate(now))?;
            senders.swap_remove(slowest).close.notify_one();
        }
        // Its grace begins with its place, not with its wait for one.
        connection.since.store(now, Ordering::Relaxed);
        connection.received.store(0, Ordering::Relaxed);
        senders.push(Arc::clone(connection));
        Some(Sender { gate: Arc::clone(self), connection: Arc::clone(connection) })
    }

    /// Does a job with the TPM on a thread that may block, one at a time with a short queue. The
    /// places are the job's and not its caller's: whoever asks and hangs up, again and again, would
    /// otherwise queue jobs without end.
    ///
    /// # Errors
    /// `temporary-reduced-capacity`: the queue is full. `internal`: the job panicked.
    pub async fn tpm<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Code> {
        let queued = Arc::clone(&self.tpm_queue).try_acquire_owned();
        let queued = queued.map_err(|_| Code::ReducedCapacity)?;
        let turn = Arc::clone(&self.tpm).acquire_owned().await;
        let turn = turn.map_err(|_| Code::ReducedCapacity)?;
        let done = tokio::task::spawn_blocking(move || {
            let _places = (queued, turn);
            job()
        });
        done.await.map_err(|_| Code::Internal)
    }

    /// Ends every connection that has outstayed its state.
    pub fn sweep(&self) {
        let now = millis(self.opened);
        let inside = self.lock();
        let all = inside.strange.iter().chain(inside.listed.values().flatten());
        for connection in all.filter(|c| c.overdue(now)) {
            connection.close.notify_one();
        }
    }

    /// Ends every connection: the port closes.
    pub fn close_all(&self) {
        let inside = self.lock();
        for connection in inside.strange.iter().chain(inside.listed.values().flatten()) {
            connection.close.notify_one();
        }
    }

    /// Strange and listed connections now.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let inside = self.lock();
        (inside.strange.len(), inside.listed_total)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pushes out the longest waiting connection of a full class; `None`: nobody waits.
fn make_room(class: &mut Vec<Arc<Connection>>, capacity: usize) -> Option<()> {
    if class.len() < capacity {
        return Some(());
    }
    let waiting = class.iter().enumerate().filter(|(_, c)| c.waits());
    let (oldest, _) = waiting.min_by_key(|(_, c)| c.since.load(Ordering::Relaxed))?;
    class.swap_remove(oldest).close.notify_one();
    Some(())
}

/// A place among the strangers that send; given back on drop.
pub struct Sender {
    gate: Arc<Gate>,
    connection: Arc<Connection>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut senders = self.gate.senders.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&mut senders, &self.connection);
    }
}

/// A place inside; given back on drop.
pub struct Pass {
    gate: Arc<Gate>,
    /// The connection that holds it.
    pub connection: Arc<Connection>,
    class: Mutex<Option<Digest>>,
}

impl Pass {
    /// The connection showed a listed key: it leaves the strangers' places. `None`: that client has
    /// too many connections, all of them served.
    #[must_use]
    pub fn recognise(&self, key: Digest) -> Option<()> {
        let mut own = self.class.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_some() {
            return Some(());
        }
        let mut inside = self.gate.lock();
        let inside = &mut *inside;
        let total = inside.listed_total;
        let class = inside.listed.entry(key).or_default();
        let before = class.len();
        let capacity =
            if total < CONNECTIONS_LISTED { CONNECTIONS_PER_CLIENT } else { before.max(1) };
        make_room(class, capacity)?;
        class.push(Arc::clone(&self.connection));
        inside.listed_total = total + class.len() - before;
        remove(&mut inside.strange, &self.connection);
        *own = Some(key);
        Some(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        let inside = &mut *inside;
        match *self.class.get_mut().unwrap_or_else(PoisonError::into_inner) {
            None => {
                remove(&mut inside.strange, &self.connection);
            }
            Some(key) => {
                if let Some(class) = inside.listed.get_mut(&key) {
                    if remove(class, &self.connection) {
                        inside.listed_total -= 1;
                    }
                    if class.is_empty() {
                        inside.listed.remove(&key);
                    }
                }
            }
        }
    }
}

fn remove(class: &mut Vec<Arc<Connection>>, connection: &Arc<Connection>) -> bool {
    let place = class.iter().position(|c| Arc::ptr_eq(c, connection));
    if let Some(place) = place {
        class.swap_remove(place);
    }
    place.is_some()
}

#[cfg(test)]
mod tests;
