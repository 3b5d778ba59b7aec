//! How the box is reached: addresses from the bundle, else DHCP (IPv4), and the port. While settings
//! are unproven the former ones stay beside them (`casemate_core::overlap` decides). Threads of its own
//! keep the capabilities to change addresses and to open a port below 1024; the serving threads have
//! none.

mod arrangement;
pub mod dhcp;
pub mod interface;
pub mod netlink;
mod table;

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use casemate_core::overlap::{Connected, Overlap, Turn};
use casemate_formats::{
    bundle::body::{Expected, Network as Settings, Prefix},
    state::Reach,
};

use self::{arrangement::Arrangement, dhcp::Port, netlink::Netlink, table::Table};
use super::console::{Word, say};

/// Pause after a port or a thread was refused, before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// DHCP's sockets: of the settings in force, of the former ones, and of some that are just ending.
const PORTS: usize = 3;
/// How long an expected box waits for the interface that tells which one it is: drivers take a while.
const INTERFACE_PATIENCE: Duration = Duration::from_secs(3);

/// Where listening sockets go.
pub trait Doors: Send + 'static {
    /// One that is to be served.
    fn open(&self, listener: TcpListener);
    /// This port is not to be served any more.
    fn close(&self, port: u16);
}

/// A handle to the network's threads.
#[derive(Clone)]
pub struct Network {
    wake: Sender<Wake>,
    shared: Arc<Shared>,
}

/// Why the thread looks again.
enum Wake {
    /// Something changed.
    Changed,
    /// Ports may be opened from now on; whether the one in force is, is answered.
    Open(Box<dyn Doors>, Sender<io::Result<()>>),
}

struct Shared {
    begun: Instant,
    overlap: Mutex<Overlap>,
    table: Arc<Table>,
}

/// Starts the threads: loopback, then the addresses of `reach`; its port later. Returns at once. Needs
/// all capabilities. Netlink and DHCP's sockets are opened here, since after the sandbox is entered no
/// file is opened, and no socket but to listen on another port.
///
/// # Errors
/// The kernel's, at opening netlink or starting the thread.
pub fn start(reach: Reach) -> io::Result<Network> {
    let mut netlink = Netlink::open()?;
    set_rules(&mut netlink)?;
    let ports = (0..PORTS).map(|_| Port::open()).collect::<io::Result<_>>()?;
    let shared = Arc::new(Shared {
        begun: Instant::now(),
        overlap: Mutex::new(Overlap::new(reach)),
        table: Arc::new(Table::new(netlink, ports)),
    });
    let (wake, woken) = channel();
    let keeper = Keeper {
        shared: Arc::clone(&shared),
        woken,
        doors: None,
        open: Vec::new(),
        arranged: Vec::new(),
        owners: 0,
    };
    thread::Builder::new().name("network".into()).spawn(move || keeper.run())?;
    Ok(Network { wake, shared })
}

/// How the kernel is to treat neighbours, on interfaces that are there and on those that come: most of
/// these rules are each interface's own, which it took from `default` when it appeared, and `all` says
/// nothing to it. Then loopback.
fn set_rules(netlink: &mut Netlink) -> io::Result<()> {
    for scope in ["all", "default"] {
        set_rules_of(scope);
    }
    // After `default`: whatever appears from here on has them.
    for interface in netlink.interfaces()? {
        set_rules_of(&interface.name);
        if interface.name == "lo" {
            netlink.up(interface.index)?;
        }
    }
    Ok(())
}

fn set_rules_of(scope: &str) {
    // Nothing that another host announces changes addresses or routes.
    for name in ["accept_ra", "autoconf", "accept_redirects"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), "0");
    }
    let ipv4 = [
        ("accept_redirects", "0"),
        // The first address of a network can go without the others.
        ("promote_secondaries", "1"),
        // An address is said to be on the card that has it, and on no other.
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
    ];
    for (name, value) in ipv4 {
        let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{scope}/{name}"), value);
    }
}

/// The settings of an expected box: those with the hardware address of one of this machine's
/// interfaces. Waits for the interface a while.
#[must_use]
pub fn expected(among: &[Expected]) -> Option<Settings> {
    let begun = Instant::now();
    let mut netlink = Netlink::open().ok()?;
    loop {
        let here = netlink.interfaces().unwrap_or_default();
        let is_here = |of: &&Expected| here.iter().any(|i| of.network.mac == Some(i.mac));
        if let Some(found) = among.iter().find(is_here) {
            return Some(found.network.clone());
        }
        if among.is_empty() || begun.elapsed() > INTERFACE_PATIENCE {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

impl Network {
    /// Addresses that the box has now; waits for the first one, at most this long.
    #[must_use]
    pub fn addresses(&self, patience: Duration) -> Vec<Prefix> {
        self.shared.table.all(patience)
    }

    /// Opens the port in force, and from now on every one that is wanted.
    ///
    /// # Errors
    /// The port in force cannot be opened.
    pub fn open_ports(&self, doors: impl Doors) -> io::Result<()> {
        let (answer, answered) = channel();
        let gone = || io::Error::other("the network's thread has ended");
        self.wake.send(Wake::Open(Box::new(doors), answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// A bundle with these settings is in force. The former ones stay until these are proven.
    pub fn in_force(&self, reach: &Reach) {
        let now = self.shared.now();
        if self.shared.overlap().change(reach, now) {
            self.say_kept();
        }
    }

    /// What the disk says was proven last, once that can be read. `Some`: this boot has proven these
    /// already.
    #[must_use]
    pub fn proven_before(&self, reach: Reach) -> Option<Reach> {
        let now = self.shared.now();
        let mut overlap = self.shared.overlap();
        if overlap.proven_before(reach, now) {
            drop(overlap);
            self.say_kept();
            return None;
        }
        overlap.is_proven().then(|| overlap.in_force().clone())
    }

    /// Somebody connected, from `from` to our `local`, since `began`; as a listed client or not.
    /// `Some`: the settings in force are proven by it.
    #[must_use]
    pub fn connected(
        &self,
        local: SocketAddr,
        from: IpAddr,
        began: Instant,
        listed: bool,
    ) -> Option<Reach> {
        let mut overlap = self.shared.overlap();
        // Nearly always.
        overlap.former()?;
        // A lease of the former settings proves nothing about the new ones.
        let ours = self.shared.table.of(&overlap.in_force().network);
        let router = self.shared.lease_router(&overlap);
        overlap.learn(router);
        let who = Connected {
            local: (local.ip().to_canonical(), local.port()),
            from,
            began: began.saturating_duration_since(self.shared.begun),
            listed,
        };
        let proven = overlap.connected(&who, &ours, self.shared.now());
        proven.then(|| overlap.in_force().clone())
    }

    /// The former settings go: those in force are proven, and that is on the disk.
    pub fn settle(&self) {
        say(Word::Network, "a client came over the new settings: the former ones go");
        let _ = self.wake.send(Wake::Changed);
    }

    fn say_kept(&self) {
        say(Word::Network, "other settings are in force: the former ones stay until a client came");
        let _ = self.wake.send(Wake::Changed);
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The router that came with an address which no bundle gives.
    fn lease_router(&self, overlap: &Overlap) -> Option<IpAddr> {
        let wanted = [Some(overlap.in_force()), overlap.former()];
        let fixed = wanted.into_iter().flatten().flat_map(|reach| &reach.network.addresses);
        let fixed: Vec<Prefix> = fixed.copied().collect();
        self.table.router_beside(&fixed)
    }

    fn overlap(&self) -> MutexGuard<'_, Overlap> {
        self.overlap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: brings ports, addresses and routes to what the overlap says, and waits.
struct Keeper {
    shared: Arc<Shared>,
    woken: Receiver<Wake>,
    doors: Option<Box<dyn Doors>>,
    open: Vec<u16>,
    arranged: Vec<Arrangement>,
    owners: u64,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let mut overlap = self.shared.overlap().clone();
            let router = self.shared.lease_router(&overlap);
            overlap.learn(router);
            let now = self.shared.now();
            let turn = overlap.turn_ends_in(now);
            let settled = self.arrange(&overlap, now);
            let wait = match (settled, turn) {
                (true, None) => Duration::MAX,
                (true, Some(turn)) => turn,
                (false, turn) => turn.unwrap_or(PAUSE).min(PAUSE),
            };
            match self.woken.recv_timeout(wait) {
                Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Open(doors, answer)) => {
                    self.doors = Some(doors);
                    let port = self.shared.overlap().in_force().port;
                    let _ = answer.send(self.open(port));
                }
                // Every handle is gone: what is set up stays for as long as the machine runs.
                Err(RecvTimeoutError::Disconnected) => thread::park(),
            }
        }
    }

    /// `false`: something was refused, and is to be tried again.
    fn arrange(&mut self, overlap: &Overlap, now: Duration) -> bool {
        let wanted: Vec<&Reach> =
            std::iter::once(overlap.in_force()).chain(overlap.former()).collect();
        let mut settled = true;
        for reach in &wanted {
            if !self.arranged.iter().any(|a| a.settings == reach.network) {
                self.owners += 1;
                let table = Arc::clone(&self.shared.table);
                match Arrangement::begin(reach.network.clone(), self.owners, table) {
                    Ok(arrangement) => self.arranged.push(arrangement),
                    Err(error) => settled = refused("a thread", &error),
                }
            }
            if let Err(error) = self.open(reach.port) {
                settled = refused(format_args!("port {}", reach.port), &error);
            }
        }
        self.arranged.retain(|a| wanted.iter().any(|reach| reach.network == a.settings));
        let closed = self.open.extract_if(.., |port| wanted.iter().all(|r| r.port != *port));
        for port in closed {
            self.doors.iter().for_each(|doors| doors.close(port));
        }
        let preferred = match (overlap.turn(now), overlap.former()) {
            (Turn::Former, Some(former)) => former,
            _ => overlap.in_force(),
        };
        if let Some(of) = self.arranged.iter().find(|a| a.settings == preferred.network) {
            self.shared.table.prefer(of.owner);
        }
        settled
    }

    /// Opens a port once, when ports may be opened: one socket for both families.
    fn open(&mut self, port: u16) -> io::Result<()> {
        let Some(doors) = self.doors.as_ref().filter(|_| !self.open.contains(&port)) else {
            return Ok(());
        };
        doors.open(TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?);
        self.open.push(port);
        Ok(())
    }
}

fn refused(what: impl std::fmt::Display, error: &io::Error) -> bool {
    say(Word::Network, format_args!("{what} cannot be had: {error}"));
    false
}
