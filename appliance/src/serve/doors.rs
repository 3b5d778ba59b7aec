//! The ports that are served. A bundle can change the port, and both are open until a client came over
//! the new one: listening sockets come and go while others are served.

use std::net::TcpListener;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::platform::network;

/// Brings listening sockets, from whatever thread may open them.
#[derive(Clone)]
pub struct DoorKeeper(UnboundedSender<Change>);

/// What is served: the other end.
pub struct Doors(UnboundedReceiver<Change>);

pub(super) enum Change {
    Open(TcpListener),
    Close(u16),
}

/// Both ends. Nothing is bounded here: a machine opens two ports at most.
#[must_use]
pub fn doors() -> (DoorKeeper, Doors) {
    let (sender, receiver) = unbounded_channel();
    (DoorKeeper(sender), Doors(receiver))
}

impl network::Doors for DoorKeeper {
    fn open(&self, listener: TcpListener) {
        let _ = self.0.send(Change::Open(listener));
    }

    fn close(&self, port: u16) {
        let _ = self.0.send(Change::Close(port));
    }
}

impl Doors {
    /// What changes next; never, once nobody can change anything any more.
    pub(super) async fn changed(&mut self) -> Change {
        match self.0.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}
