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

use casemate_formats::bundle::body::Network as Settings;

use super::{
    dhcp::{self, Client, Lease, Port, Renewal, Timer},
    interface::{self, Interface},
    table::{Owner, Table},
};
use crate::platform::console::{Word, say};

/// How often an interface is looked for, and its carrier.
const LOOK_EVERY: Duration = Duration::from_millis(20);
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
        table.enter(owner);
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
        let mut switched_on = Vec::new();
        loop {
            for interface in self.table.interfaces()?.into_iter().filter(|i| i.physical) {
                if mac.is_some_and(|mac| mac != interface.mac) {
                    continue;
                }
                if !switched_on.contains(&interface.index) {
                    self.table.up(interface.index)?;
                    switched_on.push(interface.index);
                }
                // A named interface is set up before its cable is plugged in.
                if mac.is_some() || interface.carrier {
                    return Ok(interface);
                }
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
            let timer = Timer::new(&lease, Instant::now());
            let router = lease.router.map(IpAddr::V4);
            self.table.add(self.owner, on, lease.prefix, router, "DHCP")?;
            let mut next = timer.renew;
            let renewed = loop {
                self.pause(next.saturating_duration_since(Instant::now()))?;
                let now = Instant::now();
                if now >= timer.expire {
                    break None;
                }
                match client.renew(&lease, timer.is_rebinding(now), timer.expire - now) {
                    Ok(Renewal::Lease(new)) => break Some(new),
                    Ok(Renewal::Refused) => break None,
                    Ok(Renewal::Silence) | Err(_) => next = timer.next(Instant::now()),
                }
            };
            match renewed {
                Some(new) => {
                    if new.prefix != lease.prefix || new.router != lease.router {
                        self.table.lose(self.owner, lease.prefix);
                    }
                    lease = new;
                }
                None => {
                    say(Word::Network, format_args!("{}: the lease is lost", on.name));
                    self.table.lose(self.owner, lease.prefix);
                    return Ok(());
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
