//! The box's one network interface: static addresses from the bundle, else DHCP (IPv4). A thread of
//! its own keeps the capability to change addresses; the serving threads have none.

pub mod dhcp;
pub mod interface;
pub mod netlink;

use std::{
    fs, io,
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use casemate_formats::bundle::body::{Network as Settings, Prefix};

use self::{
    dhcp::{Client, Lease, Port, Renewal},
    interface::Interface,
    netlink::Netlink,
};
use super::console::{Word, say};

/// How often an interface is looked for, and its carrier.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this long without interface or carrier the console says so, and goes on looking.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// Pause after the kernel refused something, before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// A handle to the network's thread.
#[derive(Clone)]
pub struct Network {
    commands: Sender<Command>,
    addresses: Arc<Addresses>,
}

#[derive(Default)]
struct Addresses {
    list: Mutex<Vec<Prefix>>,
    changed: Condvar,
}

enum Command {
    Apply(Option<Box<Settings>>),
    Confirm,
}

/// Starts the thread: loopback, then the interface. Returns at once. Needs all capabilities; whatever
/// the thread needs later (netlink, a socket for DHCP) is opened here, since after the sandbox is
/// entered nothing opens a file or a socket.
///
/// # Errors
/// The kernel's, at opening netlink or starting the thread.
pub fn start(settings: Option<Settings>) -> io::Result<Network> {
    let mut netlink = Netlink::open()?;
    // Nothing that another host announces changes addresses or routes.
    for scope in ["all", "default"] {
        for name in ["accept_ra", "autoconf", "accept_redirects"] {
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), "0");
        }
        let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{scope}/accept_redirects"), "0");
    }
    if let Some(lo) = netlink.interfaces()?.iter().find(|interface| interface.name == "lo") {
        netlink.up(lo.index)?;
    }
    let port = Port::open()?;
    let addresses = Arc::new(Addresses::default());
    let (commands, receiver) = channel();
    let keeper = Keeper {
        netlink,
        port,
        commands: receiver,
        addresses: Arc::clone(&addresses),
        kept: Vec::new(),
    };
    thread::Builder::new().name("network".into()).spawn(move || keeper.run(settings))?;
    Ok(Network { commands, addresses })
}

impl Network {
    /// Addresses that the box has now; waits for the first one, at most this long.
    #[must_use]
    pub fn addresses(&self, patience: Duration) -> Vec<Prefix> {
        let list = self.addresses.list.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, _) = self
            .addresses
            .changed
            .wait_timeout_while(list, patience, |list| list.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        list.clone()
    }

    /// A bundle with other settings is in force: the new addresses are added, and the former ones stay
    /// until [`Self::confirm`], so that a typing error does not cut the box off.
    pub fn apply(&self, settings: Option<Settings>) {
        let _ = self.commands.send(Command::Apply(settings.map(Box::new)));
    }

    /// A client has authenticated over the new addresses: the former ones go.
    pub fn confirm(&self) {
        let _ = self.commands.send(Command::Confirm);
    }
}

/// The thread: what it has set up, and what it waits for.
struct Keeper {
    netlink: Netlink,
    port: Port,
    commands: Receiver<Command>,
    addresses: Arc<Addresses>,
    kept: Vec<Kept>,
}

/// An address on an interface, with the default route that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    interface: u32,
    prefix: Prefix,
    gateway: Option<IpAddr>,
    /// Of former settings: goes at the next confirmation.
    former: bool,
}

impl Keeper {
    fn run(mut self, settings: Option<Settings>) {
        let mut settings = settings;
        loop {
            let result = self.configure(settings.as_ref());
            match result {
                Ok(next) => settings = next,
                Err(error) => {
                    say(Word::Network, format_args!("cannot be set up: {error}"));
                    match self.pause(PAUSE) {
                        Some(next) => settings = next,
                        None => continue,
                    }
                }
            }
            self.kept.iter_mut().for_each(|kept| kept.former = true);
        }
    }

    /// Sets up and keeps one set of settings until others are applied; gives those.
    fn configure(&mut self, settings: Option<&Settings>) -> io::Result<Option<Settings>> {
        let mac = settings.and_then(|s| s.mac);
        let mut interface = match self.find(mac)? {
            Ok(interface) => interface,
            Err(next) => return Ok(next),
        };
        if let Some(id) = settings.and_then(|s| s.vlan) {
            interface = self.vlan(&interface, id)?;
        }
        match settings.filter(|s| !s.addresses.is_empty()) {
            Some(settings) => {
                for prefix in &settings.addresses {
                    let same = |g: &&IpAddr| g.is_ipv4() == prefix.address.is_ipv4();
                    let gateway = settings.gateways.iter().find(same).copied();
                    self.add(&interface, *prefix, gateway, "static")?;
                }
                loop {
                    if let Some(next) = self.pause(Duration::MAX) {
                        return Ok(next);
                    }
                }
            }
            None => self.keep_lease(&interface),
        }
    }

    /// Looks for the interface until there is one; or gives the settings applied meanwhile.
    fn find(&mut self, mac: Option<[u8; 6]>) -> io::Result<Result<Interface, Option<Settings>>> {
        let begun = Instant::now();
        let mut said = false;
        let mut switched_on = Vec::new();
        loop {
            for interface in self.netlink.interfaces()?.into_iter().filter(|i| i.physical) {
                if mac.is_some_and(|mac| mac != interface.mac) {
                    continue;
                }
                if !switched_on.contains(&interface.index) {
                    self.netlink.up(interface.index)?;
                    switched_on.push(interface.index);
                }
                // A named interface is set up before its cable is plugged in.
                if mac.is_some() || interface.carrier {
                    return Ok(Ok(interface));
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
            if let Some(next) = self.pause(LOOK_EVERY) {
                return Ok(Err(next));
            }
        }
    }

    fn vlan(&mut self, on: &Interface, id: u16) -> io::Result<Interface> {
        let name = format!("vlan{id}");
        self.netlink.add_vlan(on.index, id, &name)?;
        let all = self.netlink.interfaces()?;
        let interface =
            all.into_iter().find(|vlan| vlan.name == name).ok_or(io::ErrorKind::NotFound)?;
        self.netlink.up(interface.index)?;
        Ok(interface)
    }

    /// Gets a lease, renews it, and starts again when it is lost; until other settings are applied.
    fn keep_lease(&mut self, on: &Interface) -> io::Result<Option<Settings>> {
        let client = Client::on(&self.port, &on.name, on.mac)?;
        loop {
            let lease = match self.acquire(&client, on)? {
                Ok(lease) => lease,
                Err(next) => return Ok(next),
            };
            if let Some(next) = self.hold(&client, on, lease)? {
                return Ok(next);
            }
        }
    }

    fn acquire(
        &mut self,
        client: &Client,
        on: &Interface,
    ) -> io::Result<Result<Lease, Option<Settings>>> {
        let begun = Instant::now();
        for attempt in 0_u32.. {
            let patience = dhcp::patience(attempt);
            match client.acquire(begun, patience) {
                Ok(Some(lease)) => return Ok(Ok(lease)),
                Ok(None) if attempt == 3 => {
                    say(Word::Network, format_args!("{}: no DHCP server answers", on.name));
                }
                Ok(None) => {}
                // The interface went down: time passes, attempts go on.
                Err(_) => thread::sleep(patience),
            }
            if let Some(next) = self.pause(Duration::ZERO) {
                return Ok(Err(next));
            }
        }
        unreachable!("attempts never end")
    }

    /// Uses a lease as long as it lasts; `Some`: other settings were applied.
    fn hold(
        &mut self,
        client: &Client,
        on: &Interface,
        mut lease: Lease,
    ) -> io::Result<Option<Option<Settings>>> {
        loop {
            let begun = Instant::now();
            let after = |seconds: u32| begun + Duration::from_secs(seconds.into());
            self.add(on, lease.prefix, lease.router.map(IpAddr::V4), "DHCP")?;
            let mut next_attempt = after(lease.renew);
            let renewed = loop {
                let left = next_attempt.saturating_duration_since(Instant::now());
                if let Some(next) = self.pause(left) {
                    return Ok(Some(next));
                }
                let now = Instant::now();
                if now < next_attempt {
                    continue;
                }
                if now >= after(lease.expire) {
                    break None;
                }
                match client.renew(&lease, now >= after(lease.rebind)) {
                    Ok(Renewal::Lease(new)) => break Some(new),
                    Ok(Renewal::Refused) => break None,
                    // RFC 2131 section 4.4.5: half of what is left, at least a minute.
                    Ok(Renewal::Silence) | Err(_) => {
                        let left = after(lease.expire).saturating_duration_since(now) / 2;
                        let pause = left.max(Duration::from_secs(60));
                        next_attempt = (now + pause).min(after(lease.expire));
                    }
                }
            };
            match renewed {
                Some(new) => {
                    if new.prefix != lease.prefix || new.router != lease.router {
                        self.remove(|kept| kept.prefix == lease.prefix);
                    }
                    lease = new;
                }
                None => {
                    say(Word::Network, format_args!("{}: the lease is lost", on.name));
                    self.remove(|kept| kept.prefix == lease.prefix);
                    return Ok(None);
                }
            }
        }
    }

    fn add(
        &mut self,
        on: &Interface,
        prefix: Prefix,
        gateway: Option<IpAddr>,
        how: &str,
    ) -> io::Result<()> {
        self.netlink.add_address(on.index, prefix)?;
        if let Some(gateway) = gateway {
            self.netlink.set_default_route(on.index, gateway)?;
        }
        let new = Kept { interface: on.index, prefix, gateway, former: false };
        let known = self.kept.iter().any(|k| k.interface == on.index && k.prefix == prefix);
        self.kept.retain(|kept| kept.interface != on.index || kept.prefix != prefix);
        self.kept.push(new);
        if !known {
            say(
                Word::Address,
                format_args!(
                    "{}/{} on {} ({}), {how}",
                    prefix.address,
                    prefix.length,
                    on.name,
                    interface::show_mac(&on.mac)
                ),
            );
        }
        self.publish();
        Ok(())
    }

    fn remove(&mut self, which: impl Fn(&Kept) -> bool) {
        let (gone, stay): (Vec<Kept>, Vec<Kept>) = self.kept.iter().partition(|kept| which(kept));
        for kept in gone {
            let routed = |k: &Kept| k.interface == kept.interface && k.gateway == kept.gateway;
            if let Some(gateway) = kept.gateway.filter(|_| !stay.iter().any(routed)) {
                let _ = self.netlink.delete_default_route(kept.interface, gateway);
            }
            let _ = self.netlink.delete_address(kept.interface, kept.prefix);
        }
        self.kept = stay;
        self.publish();
    }

    fn publish(&self) {
        let mut list = self.addresses.list.lock().unwrap_or_else(PoisonError::into_inner);
        *list = self.kept.iter().map(|kept| kept.prefix).collect();
        self.addresses.changed.notify_all();
    }

    /// Waits for commands; `Some`: settings to go on with. Former addresses go here when confirmed.
    fn pause(&mut self, time: Duration) -> Option<Option<Settings>> {
        let end = Instant::now().checked_add(time);
        loop {
            let received = match end {
                Some(end) => {
                    self.commands.recv_timeout(end.saturating_duration_since(Instant::now()))
                }
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(Command::Apply(next)) => return Some(next.map(|settings| *settings)),
                Ok(Command::Confirm) => self.remove(|kept| kept.former),
                Err(RecvTimeoutError::Timeout) => return None,
                // Every handle is gone: the addresses stay for as long as the machine runs.
                Err(RecvTimeoutError::Disconnected) => match end {
                    Some(end) => {
                        thread::sleep(end.saturating_duration_since(Instant::now()));
                        return None;
                    }
                    None => thread::park(),
                },
            }
        }
    }
}
