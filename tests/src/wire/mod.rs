//! The other end of a machine's second network card: a neighbour and router that answers for its
//! addresses, a DHCP server, and the question whether a port is open. No TCP of its own: a SYN that is
//! answered says enough.
//!
//! A thread reads the wire all the time. What nobody read would pile up in the socket, and QEMU, which
//! is told that it can write and then cannot, would spin instead of running its machine.

mod dhcp;
mod packet;

use std::{
    net::{IpAddr, Ipv6Addr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use self::packet::{Ends, Frame};
pub use self::{
    dhcp::{Asked, Dhcp},
    packet::announced,
};

/// Our hardware address.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xca, 0x5e, 0xff];
/// How often an unanswered question is asked again, and the end of the wire is looked for.
const AGAIN: Duration = Duration::from_millis(500);

/// Connections are tried from the ports after this one.
const FIRST_PORT: u16 = 40_000;

/// A wire into a machine's folder; it is unplugged when it is dropped.
pub struct Wire {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    socket: UnixDatagram,
    card: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Frames of this VLAN are seen and sent, and no others.
    vlan: Option<u16>,
    /// What neighbours are told to be here.
    ours: Vec<IpAddr>,
    dhcp: Option<Dhcp>,
    /// DHCP's questions that nobody has looked at.
    asked: Vec<Asked>,
    /// Who has said to be there.
    neighbours: Vec<(IpAddr, [u8; 6])>,
    /// Connections that were answered.
    open: Vec<Ends>,
    /// Tried so far: each comes from a port of its own.
    tried: u16,
    unplugged: bool,
}

impl Wire {
    /// Where a machine's second card sends to, with these addresses of ours.
    ///
    /// # Errors
    /// The socket's.
    pub fn plug(folder: &Path, vlan: Option<u16>, ours: &[IpAddr]) -> Result<Self> {
        let peer = folder.join("net.peer");
        let _ = std::fs::remove_file(&peer);
        let socket = UnixDatagram::bind(&peer)?;
        socket.set_read_timeout(Some(AGAIN))?;
        // A machine that does not read loses frames.
        socket.set_write_timeout(Some(AGAIN / 10))?;
        let state = State { vlan, ours: ours.to_vec(), ..State::default() };
        let shared = Arc::new(Shared {
            socket,
            card: folder.join("net.card"),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let reader = Arc::clone(&shared);
        let reader =
            std::thread::Builder::new().name("wire".into()).spawn(move || reader.read())?;
        Ok(Self { shared, reader: Some(reader) })
    }

    /// Sees and sends frames of this VLAN from now on.
    pub fn tag(&self, vlan: Option<u16>) {
        let mut state = self.shared.lock();
        state.vlan = vlan;
        state.neighbours.clear();
    }

    /// Serves leases from now on, or none.
    pub fn serve(&self, dhcp: Option<Dhcp>) {
        self.shared.lock().dhcp = dhcp;
    }

    /// The next renewal of a lease, answered as it was being served; earlier ones are forgotten.
    ///
    /// # Errors
    /// It does not come within the time.
    pub fn renewal(&self, patience: Duration) -> Result<Asked> {
        let mut seen = Vec::new();
        let mut state = self.shared.lock();
        let end = Instant::now() + patience;
        state.asked.clear();
        loop {
            for asked in std::mem::take(&mut state.asked) {
                if asked.renews() {
                    return Ok(asked);
                }
                seen.push(asked);
            }
            if Instant::now() > end {
                bail!("expected a renewal, found {seen:?}");
            }
            state = self.shared.wait(state);
        }
    }

    /// Whether `host` answers neighbours and has `port` open, for a machine `us` here or beyond us;
    /// asked until it is so or the time is over.
    #[must_use]
    pub fn is_open(&self, us: IpAddr, host: IpAddr, port: u16, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.neighbours.clear();
        state.tried += 1;
        let ends = [(host, port), (us, FIRST_PORT + state.tried)];
        let mut asked: Option<Instant> = None;
        loop {
            if state.open.contains(&ends) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
                asked = Some(Instant::now());
                let found = state.neighbours.iter().find(|(address, _)| *address == host);
                if let Some((_, mac)) = found {
                    let mac = *mac;
                    if let Some((kind, content)) = packet::syn(ends) {
                        self.shared.send(state.vlan, mac, kind, &content);
                    }
                } else {
                    let same = |ours: &&IpAddr| ours.is_ipv4() == host.is_ipv4();
                    let from = state.ours.iter().find(same).copied().unwrap_or(us);
                    if let Some((to, kind, content)) = packet::question(from, host) {
                        self.shared.send(state.vlan, to, kind, &content);
                    }
                }
            }
            let known = state.neighbours.len();
            state = self.shared.wait(state);
            if state.neighbours.len() != known {
                asked = None;
            }
        }
    }

    /// Announces a way out and a /64 to everybody on the wire, as a router does that nobody listed.
    pub fn announce(&self, prefix: Ipv6Addr) {
        let (to, kind, content) = packet::announcement(prefix);
        self.shared.send(self.shared.lock().vlan, to, kind, &content);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.lock().unplugged = true;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn read(&self) {
        let mut bytes = [0; 2048];
        loop {
            let read = self.socket.recv(&mut bytes).ok();
            let mut state = self.lock();
            if state.unplugged {
                return;
            }
            let frame = read.and_then(|length| Frame::decode(&bytes[..length]));
            if let Some(frame) = frame.filter(|frame| frame.tag == state.vlan) {
                self.hear(&mut state, &frame);
                self.changed.notify_all();
            }
        }
    }

    fn hear(&self, state: &mut State, frame: &Frame) {
        if let Some(address) = frame.neighbour() {
            let known = state.neighbours.iter().any(|(other, _)| *other == address);
            if !known {
                state.neighbours.push((address, frame.from));
            }
        }
        if let Some((wanted, host)) = frame.asks_for().filter(|(w, _)| state.ours.contains(w))
            && let Some((kind, content)) = packet::answer(wanted, frame.from, host)
        {
            self.send(state.vlan, frame.from, kind, &content);
        }
        state.open.extend(frame.opened());
        if let Some(asked) = Asked::decode(frame) {
            if let Some((mac, packet)) = state.dhcp.and_then(|dhcp| dhcp.answer(&asked)) {
                self.send(state.vlan, mac, packet::IPV4, &packet);
            }
            state.asked.push(asked);
        }
    }

    /// A machine that is off hears nothing.
    fn send(&self, vlan: Option<u16>, to: [u8; 6], kind: u16, content: &[u8]) {
        let _ = self.socket.send_to(&Frame::encode(to, vlan, kind, content), &self.card);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, AGAIN / 2).unwrap_or_else(PoisonError::into_inner).0
    }
}
