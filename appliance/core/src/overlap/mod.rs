//! Under which settings a box is reached while new ones are unproven: a typing error in a bundle's
//! network section must not make it unreachable. Pure: time and addresses come in.
//!
//! The rule: the former settings stay until a listed client has authenticated over the new ones. A
//! wrong gateway does not show to who is on the same network, and one machine has one default route:
//! while both are kept and their routes differ, they take turns, and a client from beyond a gateway
//! proves the new one in its turn. Where nobody came from beyond for a while, a neighbour will do.

use core::{net::IpAddr, time::Duration};

use casemate_formats::{bundle::body::Prefix, state::Reach};

/// How long each of two default routes is used in turn: a client tries again within it.
pub const TURN: Duration = Duration::from_secs(30);
/// How long somebody from beyond the former gateway is waited for before a neighbour proves a new one.
pub const NOBODY_BEYOND: Duration = Duration::from_secs(600);

/// Whose default routes are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The new settings'.
    New,
    /// The former settings'.
    Former,
}

/// A connection as it was made.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// Our address and port.
    pub local: (IpAddr, u16),
    /// Theirs.
    pub from: IpAddr,
    /// When it was accepted, since boot.
    pub began: Duration,
    /// A listed client has authenticated over it.
    pub listed: bool,
}

/// The settings in force, and those that are kept beside them.
#[derive(Clone, Debug)]
pub struct Overlap {
    in_force: Reach,
    former: Option<Former>,
    /// What is in force was proven on this boot.
    proven: bool,
    /// The router that a lease named.
    lease: Option<IpAddr>,
}

#[derive(Clone, Debug)]
struct Former {
    reach: Reach,
    since: Duration,
    /// Somebody came from beyond a gateway in the former settings' turn.
    beyond: bool,
}

impl Overlap {
    /// A boot under these settings.
    #[must_use]
    pub const fn new(in_force: Reach) -> Self {
        Self { in_force, former: None, proven: false, lease: None }
    }

    /// What is in force.
    #[must_use]
    pub const fn in_force(&self) -> &Reach {
        &self.in_force
    }

    /// What is kept beside it.
    #[must_use]
    pub fn former(&self) -> Option<&Reach> {
        self.former.as_ref().map(|former| &former.reach)
    }

    /// Whether what is in force was proven on this boot.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// The router that DHCP has named: no bundle does.
    pub const fn learn(&mut self, router: Option<IpAddr>) {
        self.lease = router;
    }

    /// Another bundle is in force; `true`: something changed. Of two changes in a row the first one's
    /// settings go: nobody has ever authenticated over them.
    pub fn change(&mut self, to: &Reach, now: Duration) -> bool {
        if *to == self.in_force {
            return false;
        }
        self.proven = false;
        let before = core::mem::replace(&mut self.in_force, to.clone());
        let proven = self.former.take().map_or(before, |former| former.reach);
        self.keep(proven, now);
        true
    }

    /// What the disk says was proven last; `true`: it is kept beside what is in force. What this boot
    /// itself has kept or proven is newer.
    pub fn proven_before(&mut self, reach: Reach, now: Duration) -> bool {
        if self.former.is_none() && !self.proven {
            self.keep(reach, now);
        }
        self.former.is_some()
    }

    fn keep(&mut self, reach: Reach, now: Duration) {
        let other = reach != self.in_force;
        self.former = other.then_some(Former { reach, since: now, beyond: false });
    }

    /// Somebody connected. `true`: the settings in force are proven, and the former ones go. `ours`:
    /// the addresses that the box has under the settings in force.
    pub fn connected(&mut self, who: &Connected, ours: &[Prefix], now: Duration) -> bool {
        let turn = self.turn(now);
        let Some(former) = &mut self.former else { return false };
        let beyond = !ours.iter().any(|prefix| contains(prefix, who.from));
        let v4 = who.local.0.is_ipv4();
        let routed = routes_differ(&self.in_force, &former.reach, v4, self.lease);
        former.beyond |= beyond && turn == Turn::Former;
        let new = who.local.1 == self.in_force.port
            && ours.iter().any(|prefix| prefix.address == who.local.0);
        if !who.listed || !new {
            return false;
        }
        let since = former.since;
        let proven = match (routed, beyond) {
            (false, _) => true,
            // In the turn of the new route from beginning to end.
            (true, true) => turn == Turn::New && turn_began(since, now) <= who.began,
            (true, false) => !former.beyond && now.saturating_sub(since) >= NOBODY_BEYOND,
        };
        if proven {
            self.former = None;
            self.proven = true;
        }
        proven
    }

    /// Whose default routes are in use now: the new ones begin.
    #[must_use]
    pub fn turn(&self, now: Duration) -> Turn {
        let Some(former) = &self.former else { return Turn::New };
        let differ = |v4| routes_differ(&self.in_force, &former.reach, v4, self.lease);
        let turns = now.saturating_sub(former.since).as_secs() / TURN.as_secs();
        let theirs = (differ(true) || differ(false)) && !turns.is_multiple_of(2);
        if theirs { Turn::Former } else { Turn::New }
    }

    /// How long the present turn lasts; `None`: for ever.
    #[must_use]
    pub fn turn_ends_in(&self, now: Duration) -> Option<Duration> {
        let former = self.former.as_ref()?;
        Some(turn_began(former.since, now) + TURN - now)
    }
}

fn turn_began(since: Duration, now: Duration) -> Duration {
    let turns = now.saturating_sub(since).as_secs() / TURN.as_secs();
    since + Duration::from_secs(turns * TURN.as_secs())
}

/// Whether the default routes of a family are others: by another gateway, or elsewhere.
fn routes_differ(one: &Reach, other: &Reach, v4: bool, lease: Option<IpAddr>) -> bool {
    let gateway = |reach: &Reach| match reach.network.addresses.is_empty() {
        true => lease.filter(|router| router.is_ipv4() == v4),
        false => reach.network.gateways.iter().find(|g| g.is_ipv4() == v4).copied(),
    };
    let place = |reach: &Reach| (reach.network.mac, reach.network.vlan);
    let routed = gateway(one).or(gateway(other)).is_some();
    routed && (gateway(one) != gateway(other) || place(one) != place(other))
}

/// Whether an address lies in a prefix.
#[must_use]
pub fn contains(prefix: &Prefix, address: IpAddr) -> bool {
    let length = u32::from(prefix.length);
    match (prefix.address, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.leading_zeros() >= length
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.leading_zeros() >= length
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
