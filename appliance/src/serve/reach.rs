//! How the box is reached, as the house sees it: it says what is in force and who came, and keeps on
//! the disk what was proven.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use casemate_core::phase::Phase;
use casemate_formats::state::Reach;

use super::{House, Snapshot};
use crate::{
    life::Life,
    platform::network::{self, Network},
};

/// The port before a bundle names one.
const DEFAULT_PORT: u16 = 8443;

/// Addresses, routes and port of the machine. See `casemate_core::overlap` for the rule.
pub trait Reachable: Send + Sync + 'static {
    /// A bundle with these settings is in force.
    fn in_force(&self, reach: &Reach);
    /// What the disk says was proven last. `Some`: this boot has proven these already.
    fn proven_before(&self, reach: Reach) -> Option<Reach>;
    /// Somebody connected. `Some`: the settings in force are proven by it.
    fn connected(
        &self,
        local: SocketAddr,
        from: IpAddr,
        began: Instant,
        listed: bool,
    ) -> Option<Reach>;
    /// What was proven is on the disk: the former settings go.
    fn settle(&self);
}

impl Reachable for Network {
    fn in_force(&self, reach: &Reach) {
        self.in_force(reach);
    }

    fn proven_before(&self, reach: Reach) -> Option<Reach> {
        self.proven_before(reach)
    }

    fn connected(
        &self,
        local: SocketAddr,
        from: IpAddr,
        began: Instant,
        listed: bool,
    ) -> Option<Reach> {
        self.connected(local, from, began, listed)
    }

    fn settle(&self) {
        self.settle();
    }
}

/// How this box is reached at first: as a listed host, as an expected box, or by DHCP.
#[must_use]
pub fn reach_at_boot(life: &Life) -> Reach {
    let Some(verified) = life.bundle() else { return Reach::default_at(DEFAULT_PORT) };
    let (bundle, port) = (verified.bundle(), verified.bundle().service.port);
    let listed = life.host().map(|host| host.network.clone());
    match listed.or_else(|| network::expected(&bundle.expected)) {
        Some(network) => Reach { network, port },
        None => Reach::default_at(port),
    }
}

impl House {
    /// A bundle came into force, or the root was opened.
    pub(super) fn reach_changed(&self, before: &Snapshot, life: &Life) {
        if let (Some(bundle), Some(host)) = (life.bundle(), life.host()) {
            let port = bundle.bundle().service.port;
            self.boot.network.in_force(&Reach { network: host.network.clone(), port });
        }
        let opened = before.phase != Phase::Operational || before.bundle.is_none();
        if opened && life.phase() == Phase::Operational {
            // A box that has kept nothing yet was reached like a new one.
            let last = life.proven().unwrap_or_else(|| Reach::default_at(DEFAULT_PORT));
            if let Some(proven) = self.boot.network.proven_before(last) {
                let _ = life.prove(&proven);
            }
        }
    }

    /// Somebody connected and spoke TLS.
    pub(super) fn connected(
        self: &Arc<Self>,
        local: SocketAddr,
        from: IpAddr,
        began: Instant,
        listed: bool,
    ) {
        let Some(proven) = self.boot.network.connected(local, from, began, listed) else { return };
        let house = Arc::clone(self);
        // The disk blocks. First it is kept, then the former settings go; where it cannot be kept (no
        // root, a disk that fails), the next boot answers under the former ones once more.
        tokio::task::spawn_blocking(move || {
            let _ = house.life().prove(&proven);
            house.boot.network.settle();
        });
    }
}
