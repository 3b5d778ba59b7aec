//! What is on the interfaces, and for whom: each set of settings is an owner of its addresses and
//! gateways. Two owners may want the same address; it goes with the last of them. One default route of
//! each family is laid, that of the preferred owner where it has one.

use std::{
    io,
    net::IpAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_formats::bundle::body::{Network as Settings, Prefix};

use super::{dhcp::Port, interface::Interface, netlink::Netlink};
use crate::platform::console::{Word, say};

/// Who wants an address.
pub(super) type Owner = u64;

/// The table, shared by the thread that decides and those that carry settings out.
pub(super) struct Table {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    netlink: Netlink,
    /// DHCP's sockets that nobody uses.
    ports: Vec<Port>,
    owners: Vec<(Owner, Settings)>,
    preferred: Owner,
    kept: Vec<Kept>,
    /// VLAN interfaces that were made, by their owner.
    vlans: Vec<(Owner, u32)>,
    /// Default routes that could be laid, in order of choice: IPv4, IPv6.
    wanted: [Vec<Route>; 2],
    /// Those that are.
    laid: [Option<Route>; 2],
}

/// An address on an interface, with the gateway that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    owner: Owner,
    interface: u32,
    prefix: Prefix,
    gateway: Option<IpAddr>,
}

type Route = (u32, IpAddr);

impl Table {
    pub(super) fn new(netlink: Netlink, ports: Vec<Port>) -> Self {
        let inner = Inner {
            netlink,
            ports,
            owners: Vec::new(),
            preferred: 0,
            kept: Vec::new(),
            vlans: Vec::new(),
            wanted: [Vec::new(), Vec::new()],
            laid: [None; 2],
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// Begins an owner, which carries these settings out.
    pub(super) fn enter(&self, owner: Owner, settings: Settings) {
        self.lock().owners.push((owner, settings));
    }

    /// Ends an owner: what it alone wanted goes, and whatever it still does comes to nothing.
    pub(super) fn leave(&self, owner: Owner) {
        let mut inner = self.lock();
        inner.owners.retain(|(known, _)| *known != owner);
        inner.remove(|kept| kept.owner == owner);
        let (gone, stay) = inner.vlans.iter().partition(|(of, _)| *of == owner);
        inner.vlans = stay;
        let gone: Vec<(Owner, u32)> = gone;
        for (_, index) in gone {
            if !inner.vlans.iter().any(|(_, other)| *other == index) {
                let _ = inner.netlink.delete_link(index);
            }
        }
    }

    /// Whose default routes are laid.
    pub(super) fn prefer(&self, owner: Owner) {
        let mut inner = self.lock();
        if inner.preferred != owner {
            inner.preferred = owner;
            inner.lay_routes();
        }
    }

    /// Switches an interface on.
    pub(super) fn up(&self, interface: u32) -> io::Result<()> {
        self.lock().netlink.up(interface)
    }

    /// Every interface as it is now.
    pub(super) fn interfaces(&self) -> io::Result<Vec<Interface>> {
        self.lock().netlink.interfaces()
    }

    /// One of DHCP's sockets, which were opened at the start.
    pub(super) fn take_port(&self) -> io::Result<Port> {
        let none = || io::Error::other("DHCP's sockets are all in use");
        self.lock().ports.pop().ok_or_else(none)
    }

    /// Gives it back.
    pub(super) fn give_port(&self, port: Port) {
        self.lock().ports.push(port);
    }

    /// A VLAN for this owner.
    pub(super) fn vlan(&self, owner: Owner, on: u32, id: u16) -> io::Result<Interface> {
        let mut inner = self.lock();
        let name = format!("vlan{on}.{id}");
        inner.netlink.add_vlan(on, id, &name)?;
        let made = inner.netlink.interfaces()?.into_iter().find(|i| i.name == name);
        let made = made.ok_or(io::ErrorKind::NotFound)?;
        inner.netlink.up(made.index)?;
        if inner.has(owner) {
            inner.vlans.push((owner, made.index));
        } else {
            inner.netlink.delete_link(made.index)?;
        }
        Ok(made)
    }

    /// Adds an address; an owner that has left adds nothing.
    pub(super) fn add(
        &self,
        owner: Owner,
        on: &Interface,
        prefix: Prefix,
        gateway: Option<IpAddr>,
        how: &str,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.has(owner) {
            return Ok(());
        }
        inner.netlink.add_address(on.index, prefix)?;
        let same = |kept: &Kept| kept.interface == on.index && kept.prefix == prefix;
        let known = inner.kept.iter().any(same);
        inner.kept.retain(|kept| kept.owner != owner || !same(kept));
        inner.kept.push(Kept { owner, interface: on.index, prefix, gateway });
        inner.lay_routes();
        if !known {
            let mac = super::interface::show_mac(&on.mac);
            let Prefix { address, length } = prefix;
            say(Word::Address, format_args!("{address}/{length} on {} ({mac}), {how}", on.name));
        }
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes an address away that its owner has lost.
    pub(super) fn lose(&self, owner: Owner, prefix: Prefix) {
        self.lock().remove(|kept| kept.owner == owner && kept.prefix == prefix);
    }

    /// The gateway of an address that is none of these.
    pub(super) fn router_beside(&self, fixed: &[Prefix]) -> Option<IpAddr> {
        let inner = self.lock();
        inner.kept.iter().filter(|kept| !fixed.contains(&kept.prefix)).find_map(|kept| kept.gateway)
    }

    /// Addresses that these settings have brought.
    pub(super) fn of(&self, settings: &Settings) -> Vec<Prefix> {
        let inner = self.lock();
        let owns = |kept: &&Kept| {
            inner.owners.iter().any(|(owner, of)| *owner == kept.owner && of == settings)
        };
        inner.kept.iter().filter(owns).map(|kept| kept.prefix).collect()
    }

    /// All addresses; waits for a first one, at most this long.
    pub(super) fn all(&self, patience: Duration) -> Vec<Prefix> {
        let (inner, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |inner| inner.kept.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        inner.kept.iter().map(|kept| kept.prefix).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has(&self, owner: Owner) -> bool {
        self.owners.iter().any(|(known, _)| *known == owner)
    }

    fn remove(&mut self, which: impl Fn(&Kept) -> bool) {
        let (gone, stay): (Vec<Kept>, Vec<Kept>) = self.kept.iter().partition(|kept| which(kept));
        self.kept = stay;
        let same = |a: &Kept, b: &Kept| a.interface == b.interface && a.prefix == b.prefix;
        for kept in &gone {
            if !self.kept.iter().any(|other| same(other, kept)) {
                let _ = self.netlink.delete_address(kept.interface, kept.prefix);
                let Prefix { address, length } = kept.prefix;
                say(Word::Address, format_args!("{address}/{length} is given up"));
            }
        }
        if !gone.is_empty() {
            // With an address the kernel may have dropped others of its network.
            for kept in &self.kept {
                let _ = self.netlink.add_address(kept.interface, kept.prefix);
            }
            self.wanted = [Vec::new(), Vec::new()];
            self.laid = [None; 2];
        }
        self.lay_routes();
    }

    /// Lays the first route of each family that the kernel takes, the preferred owner's before others':
    /// a gateway outside of every network leaves the former one in use.
    fn lay_routes(&mut self) {
        for (family, v4) in [true, false].into_iter().enumerate() {
            let route = |kept: &Kept| Some((kept.interface, kept.gateway?));
            let all = || self.kept.iter().filter(|kept| kept.prefix.address.is_ipv4() == v4);
            let preferred = all().filter(|kept| kept.owner == self.preferred);
            let wanted: Vec<Route> = preferred.chain(all()).filter_map(route).collect();
            if self.wanted[family] == wanted {
                continue;
            }
            let refused = |(_, gateway): &Route, error: io::Error| {
                say(Word::Network, format_args!("no route by {gateway}: {error}"));
            };
            let before = self.laid[family].take();
            for (interface, gateway) in &wanted {
                if before == Some((*interface, *gateway)) {
                    self.laid[family] = before;
                    break;
                }
                match self.netlink.set_default_route(*interface, *gateway) {
                    Ok(()) => {
                        self.laid[family] = Some((*interface, *gateway));
                        break;
                    }
                    Err(error) => refused(&(*interface, *gateway), error),
                }
            }
            if let Some((interface, gateway)) = before.filter(|_| self.laid[family] != before) {
                let _ = self.netlink.delete_default_route(interface, gateway);
            }
            self.wanted[family] = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_of_the_settings_that_brought_it() {
        let settings = |mac| Settings {
            mac,
            vlan: None,
            addresses: heapless::Vec::new(),
            gateways: heapless::Vec::new(),
        };
        let (new, former) = (settings(Some([2; 6])), settings(None));
        let table = Table::new(Netlink::open().expect("a socket"), Vec::new());
        table.enter(1, former.clone());
        table.enter(2, new.clone());
        let prefix = Prefix { address: IpAddr::from([10, 0, 2, 15]), length: 24 };
        let lease = Kept { owner: 1, interface: 2, prefix, gateway: None };
        table.lock().kept.push(lease);
        assert_eq!(table.of(&former), [prefix]);
        assert_eq!(table.of(&new), []);
    }
}
