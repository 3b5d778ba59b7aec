//! How a box without PID 1 is reached: the real rule of what stays while settings are unproven, with
//! loopback as its only address. Ports come and go as on a machine; addresses are those of the
//! bundle in name only.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use casemate_appliance::{
    life::Life,
    platform::network::Doors as _,
    serve::{DoorKeeper, Reachable, reach_at_boot},
};
use casemate_core::overlap::{Connected, Overlap};
use casemate_formats::{bundle::body::Prefix, state::Reach};

/// The network of a box on a developer's machine.
#[derive(Clone)]
pub struct Loopback(Arc<Mutex<Inner>>);

struct Inner {
    begun: Instant,
    overlap: Overlap,
    keeper: DoorKeeper,
    /// The port that the test chose stands for the one in force when the box was switched on.
    first: (u16, u16),
    open: Vec<u16>,
}

impl Loopback {
    /// As [`reach_at_boot`] says.
    #[must_use]
    pub fn new(life: &Life, keeper: DoorKeeper) -> Self {
        let overlap = Overlap::new(reach_at_boot(life));
        let open = vec![overlap.in_force().port];
        let first = (overlap.in_force().port, 0);
        Self(Arc::new(Mutex::new(Inner { begun: Instant::now(), overlap, keeper, first, open })))
    }

    /// Opens the port that the test chose; 0: any.
    ///
    /// # Errors
    /// The port is taken.
    pub fn open(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let mut inner = self.lock();
        inner.first.1 = address.port();
        inner.keeper.open(listener);
        inner.arrange();
        Ok(address)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn arrange(&mut self) {
        let Self { overlap, keeper, first, open, .. } = self;
        let wanted = [Some(overlap.in_force()), overlap.former()];
        let wanted: Vec<u16> = wanted.into_iter().flatten().map(|reach| reach.port).collect();
        let real = |port: u16| if port == first.0 { first.1 } else { port };
        if first.1 == 0 {
            return;
        }
        for port in &wanted {
            if !open.contains(port) {
                // Another box of the same test may have it: this one then does without.
                if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)) {
                    keeper.open(listener);
                    open.push(*port);
                }
            }
        }
        open.extract_if(.., |port| !wanted.contains(port))
            .for_each(|port| keeper.close(real(port)));
    }
}

impl Reachable for Loopback {
    fn in_force(&self, reach: &Reach) {
        let mut inner = self.lock();
        let now = inner.begun.elapsed();
        if inner.overlap.change(reach, now) {
            inner.arrange();
        }
    }

    fn proven_before(&self, reach: Reach) -> Option<Reach> {
        let mut inner = self.lock();
        let now = inner.begun.elapsed();
        if inner.overlap.proven_before(reach, now) {
            inner.arrange();
            return None;
        }
        inner.overlap.is_proven().then(|| inner.overlap.in_force().clone())
    }

    fn connected(
        &self,
        local: SocketAddr,
        from: IpAddr,
        began: Instant,
        listed: bool,
    ) -> Option<Reach> {
        let mut inner = self.lock();
        let first = inner.first;
        let port = if local.port() == first.1 { first.0 } else { local.port() };
        let ours = [Prefix { address: local.ip().to_canonical(), length: 8 }];
        let began = began.saturating_duration_since(inner.begun);
        let who = Connected { local: (ours[0].address, port), from, began, listed };
        let now = inner.begun.elapsed();
        inner.overlap.connected(&who, &ours, now).then(|| inner.overlap.in_force().clone())
    }

    fn settle(&self) {
        self.lock().arrange();
    }
}
