//! One set of settings carried out: its interface found, static addresses set or a lease kept, until
//! it is ended. A thread of its own, which has the network thread's capabilities.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use casemate_formats::bundle::body::{Network as Settings, Prefix};

use super::{
    dhcp::{self, Client, Lease, Port, Renewal, Timer},
    interface::{self, Interface},
    table::{Owner, Table},
};
use crate::platform::console::{Word, say};

/// How often an interface is looked for, and its carrier.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a card may take to find its carrier once it is on: gigabit negotiates for two to four
/// seconds. Before, no later one is taken: which card a box uses must not depend on which was on first.
const LINK_TAKES: Duration = Duration::from_secs(5);
/// After this long without interface or carrier the console says so, and goes on looking.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// Pause after the kernel refused something, before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Settings that are being carried out; they end with it.
pub(super) struct Arrangement {
    pub(super) settings: Settings,
    pub(super) owner: Owner,
    table: Arc<Table>,
    _stop: Sender<()>,
}

impl Arrangement {
    pub(super) fn begin(settings: Settings, owner: Owner, table: Arc<Table>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        table.enter(owner, settings.clone());
        let worker =
            Worker { settings: settings.clone(), owner, table: Arc::clone(&table), stopped };
        let arrangement = Self { settings, owner, table, _stop: stop };
        thread::Builder::new().name("address".into()).spawn(move || worker.run())?;
        Ok(arrangement)
    }
}

impl Drop for Arrangement {
    fn drop(&mut self) {
        self.table.leave(self.owner);
    }
}

/// The arrangement was ended.
struct Ended;

/// Why work on an arrangement stops.
enum Stop {
    Ended,
    Failed(io::Error),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// A card that was switched on, or refused to be.
struct Tried {
    index: u32,
    at: Instant,
    is_on: bool,
}

struct Worker {
    settings: Settings,
    owner: Owner,
    table: Arc<Table>,
    stopped: Receiver<()>,
}

impl Worker {
    fn run(self) {
        while let Err(Stop::Failed(error)) = self.carry_out() {
            say(Word::Network, format_args!("cannot be set up: {error}"));
            if self.pause(PAUSE).is_err() {
                break;
            }
        }
    }

    fn carry_out(&self) -> Result<(), Stop> {
        let mut on = self.find()?;
        if let Some(id) = self.settings.vlan {
            on = self.table.vlan(self.owner, on.index, id)?;
        }
        if self.settings.addresses.is_empty() {
            return self.keep_lease(&on);
        }
        for prefix in &self.settings.addresses {
            let same = |g: &&IpAddr| g.is_ipv4() == prefix.address.is_ipv4();
            let gateway = self.settings.gateways.iter().find(same).copied();
            self.table.add(self.owner, &on, *prefix, gateway, "static")?;
        }
        loop {
            self.pause(Duration::MAX)?;
        }
    }

    /// Looks for the interface until there is one.
    fn find(&self) -> Result<Interface, Stop> {
        let mac = self.settings.mac;
        let begun = Instant::now();
        let mut said = false;
        let mut tried: Vec<Tried> = Vec::new();
        loop {
            let mut cards = self.table.interfaces()?;
            cards.retain(|i| i.physical && mac.is_none_or(|mac| mac == i.mac));
            tried.retain(|tried| tried.is_on || tried.at.elapsed() < PAUSE);
            for card in &cards {
                if tried.iter().any(|tried| tried.index == card.index) {
                    continue;
                }
                let on = self.table.up(card.index);
                tried.push(Tried { index: card.index, at: Instant::now(), is_on: on.is_ok() });
                // A broken card does not keep others from being used.
                if let Err(error) = on {
                    let name = &card.name;
                    say(Word::Network, format_args!("{name} cannot be switched on: {error}"));
                }
            }
            let is_on = |card: &Interface| tried.iter().any(|t| t.is_on && t.index == card.index);
            cards.retain(is_on);
            let is_coming = |card: &Interface| {
                tried.iter().any(|t| t.index == card.index && t.at.elapsed() < LINK_TAKES)
            };
            let found = match mac {
                // A named interface is set up before its cable is plugged in.
                Some(_) => cards.first(),
                None => interface::first_with_carrier(&cards, is_coming),
            };
            if let Some(found) = found {
                return Ok(found.clone());
            }
            if !said && begun.elapsed() > SAY_AFTER {
                said = true;
                match mac {
                    Some(mac) => say(
                        Word::Network,
                        format_args!("no interface with address {}", interface::show_mac(&mac)),
                    ),
                    None => say(Word::Network, "no interface with a carrier: is a cable in?"),
                }
            }
            self.pause(LOOK_EVERY)?;
        }
    }

    /// Gets a lease, renews it, and starts again when it is lost.
    fn keep_lease(&self, on: &Interface) -> Result<(), Stop> {
        let port = self.table.take_port()?;
        let end = self.keep_lease_by(&port, on);
        self.table.give_port(port);
        end
    }

    fn keep_lease_by(&self, port: &Port, on: &Interface) -> Result<(), Stop> {
        let client = Client::on(port, &on.name, on.mac)?;
        loop {
            let lease = self.acquire(&client, on)?;
            self.hold(&client, on, lease)?;
        }
    }

    fn acquire(&self, client: &Client, on: &Interface) -> Result<Lease, Stop> {
        let begun = Instant::now();
        for attempt in 0_u32.. {
            let patience = dhcp::patience(attempt);
            match client.acquire(begun, patience) {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) if attempt == 3 => {
                    say(Word::Network, format_args!("{}: no DHCP server answers", on.name));
                }
                Ok(None) => {}
                // The interface went down: time passes, attempts go on.
                Err(_) => self.pause(patience)?,
            }
            self.pause(Duration::ZERO)?;
        }
        unreachable!("attempts never end")
    }

    /// Uses a lease as long as it lasts.
    fn hold(&self, client: &Client, on: &Interface, mut lease: Lease) -> Result<(), Stop> {
        loop {
            let router = lease.router.map(IpAddr::V4);
            let how = format!("DHCP by {}", lease.server);
            self.table.add(self.owner, on, lease.prefix, router, &how)?;
            match self.prolong(client, on, &lease)? {
                Ok(new) => {
                    if new.prefix != lease.prefix {
                        self.table.lose(self.owner, lease.prefix);
                    }
                    lease = new;
                }
                Err(why) => {
                    let Prefix { address, .. } = lease.prefix;
                    say(Word::Network, format_args!("{}: lease of {address} {why}", on.name));
                    self.table.lose(self.owner, lease.prefix);
                    return Ok(());
                }
            }
        }
    }

    /// Waits until a lease is to be renewed, and asks until it is; else why it ends. An ordinary renewal
    /// is not worth a line.
    fn prolong(
        &self,
        client: &Client,
        on: &Interface,
        lease: &Lease,
    ) -> Result<Result<Lease, &'static str>, Ended> {
        let timer = Timer::new(lease, Instant::now());
        let (name, address) = (&on.name, lease.prefix.address);
        let mut next = timer.renew;
        let mut silent = false;
        loop {
            self.pause(next.saturating_duration_since(Instant::now()))?;
            let now = Instant::now();
            if now >= timer.expire {
                return Ok(Err("ended: no DHCP server renewed it"));
            }
            match client.renew(lease, timer.is_rebinding(now), timer.expire - now) {
                Ok(Renewal::Lease(new)) => {
                    if silent || new.server != lease.server {
                        let server = new.server;
                        say(
                            Word::Network,
                            format_args!("{name}: lease of {address} renewed by {server}"),
                        );
                    }
                    return Ok(Ok(new));
                }
                Ok(Renewal::Refused) => return Ok(Err("ended: the DHCP server refused it")),
                Ok(Renewal::Silence) | Err(_) => {
                    next = timer.next(now, Instant::now());
                    if !silent {
                        silent = true;
                        let left = timer.expire.saturating_duration_since(Instant::now()).as_secs();
                        let server = lease.server;
                        say(
                            Word::Network,
                            format_args!(
                                "{name}: {server} does not renew {address}, which ends in {left} s"
                            ),
                        );
                    }
                }
            }
        }
    }

    /// Waits; an error once the arrangement has ended.
    fn pause(&self, time: Duration) -> Result<(), Ended> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }
}
