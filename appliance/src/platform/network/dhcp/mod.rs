//! A DHCP client for one interface: an ordinary UDP socket bound to it, so no packet socket and no
//! raw frames. Blocking, on the network's own thread.

pub mod message;

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{BindToDevice, Broadcast, ReuseAddr},
};

pub use self::message::Lease;
use self::message::{Answer, Asker, Sent, decode, encode};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Waiting for the first answer; doubled at each attempt up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Largest answer that is read: an Ethernet frame.
const MAX_BYTES: usize = 1500;

/// The DHCP client's port, on no interface yet.
pub struct Port(UdpSocket);

/// A client on one interface.
pub struct Client {
    socket: UdpSocket,
    mac: [u8; 6],
}

/// What became of asking for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Longer, maybe under other terms.
    Lease(Lease),
    /// The address is not ours any more.
    Refused,
    /// Nobody answered.
    Silence,
}

impl Port {
    /// Opens it. Needs CAP_NET_BIND_SERVICE.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        setsockopt(&socket, Broadcast, &true)?;
        bind(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT)),
        )?;
        Ok(Self(UdpSocket::from(socket)))
    }
}

impl Client {
    /// A client on the interface called `name`; the port serves that interface alone from now on. Needs
    /// CAP_NET_RAW where it served another one before.
    ///
    /// # Errors
    /// The kernel's.
    pub fn on(port: &Port, name: &str, mac: [u8; 6]) -> io::Result<Self> {
        let socket = port.0.try_clone()?;
        setsockopt(&socket, BindToDevice, &OsString::from(name))?;
        Ok(Self { socket, mac })
    }

    /// One attempt to get a lease: discovery and selection, with this much patience for each.
    ///
    /// # Errors
    /// The kernel's; silence is `Ok(None)`.
    pub fn acquire(&self, since: Instant, wait: Duration) -> io::Result<Option<Lease>> {
        let asker = self.asker(since)?;
        self.send(&asker, Sent::Discover, Ipv4Addr::BROADCAST)?;
        let offer = self.wait(wait, |bytes| match decode(&asker, bytes)? {
            Answer::Offer { address, server } => Some((address, server)),
            Answer::Lease(_) | Answer::Refused => None,
        })?;
        let Some((address, server)) = offer else { return Ok(None) };
        self.send(&asker, Sent::Select { address, server }, Ipv4Addr::BROADCAST)?;
        let answer = self.wait(wait, |bytes| match decode(&asker, bytes)? {
            Answer::Lease(lease) => Some((lease.prefix.address == address).then_some(lease)),
            Answer::Refused => Some(None),
            Answer::Offer { .. } => None,
        })?;
        Ok(answer.flatten())
    }

    /// Asks for the same address for longer: its server alone, or (after the rebinding time) anyone. Waits
    /// for the answer four seconds, and at most this long.
    ///
    /// # Errors
    /// The kernel's.
    pub fn renew(&self, lease: &Lease, anyone: bool, patience: Duration) -> io::Result<Renewal> {
        let std::net::IpAddr::V4(address) = lease.prefix.address else {
            return Ok(Renewal::Refused);
        };
        let asker = self.asker(Instant::now())?;
        let to = if anyone { Ipv4Addr::BROADCAST } else { lease.server };
        self.send(&asker, Sent::Renew { address }, to)?;
        let answer =
            self.wait(patience.min(FIRST_WAIT * 4), |bytes| match decode(&asker, bytes)? {
                Answer::Lease(new) if new.prefix.address == lease.prefix.address => {
                    Some(Renewal::Lease(new))
                }
                Answer::Refused => Some(Renewal::Refused),
                Answer::Lease(_) | Answer::Offer { .. } => None,
            })?;
        Ok(answer.unwrap_or(Renewal::Silence))
    }

    fn asker(&self, since: Instant) -> io::Result<Asker> {
        let mut transaction = [0; 4];
        getrandom::fill(&mut transaction).map_err(io::Error::other)?;
        let seconds = u16::try_from(since.elapsed().as_secs()).unwrap_or(u16::MAX);
        Ok(Asker { transaction: u32::from_be_bytes(transaction), mac: self.mac, seconds })
    }

    fn send(&self, asker: &Asker, sent: Sent, to: Ipv4Addr) -> io::Result<()> {
        self.socket.send_to(&encode(asker, sent), SocketAddrV4::new(to, SERVER_PORT))?;
        Ok(())
    }

    /// Reads until something is wanted or the time is over, whatever else arrives meanwhile.
    fn wait<T>(
        &self,
        patience: Duration,
        wanted: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let end = Instant::now() + patience;
        let mut bytes = [0; MAX_BYTES];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv_from(&mut bytes) {
                Ok((length, _)) => {
                    if let Some(found) = wanted(&bytes[..length]) {
                        return Ok(Some(found));
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// When a lease is renewed, rebound and lost (RFC 2131 section 4.4.5: T1, T2, its end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its server is asked from here on.
    pub renew: Instant,
    /// Any server is asked from here on.
    pub rebind: Instant,
    /// The address must not be used from here on.
    pub expire: Instant,
}

impl Timer {
    /// Of a lease that was given now.
    #[must_use]
    pub fn new(lease: &Lease, now: Instant) -> Self {
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let (renew, rebind) = (after(lease.renew), after(lease.rebind));
        Self { renew, rebind, expire: after(lease.expire) }
    }

    /// Whether any server is to be asked.
    #[must_use]
    pub fn is_rebinding(&self, now: Instant) -> bool {
        now >= self.rebind
    }

    /// When to ask again after silence on a question that was sent at `asked`: at once where only now
    /// any server may be asked; else after half of what is left to the next border, at least a minute
    /// (RFC 2131 section 4.4.5), but never past the border: short leases would be lost unasked.
    #[must_use]
    pub fn next(&self, asked: Instant, now: Instant) -> Instant {
        if self.is_rebinding(now) && !self.is_rebinding(asked) {
            return now;
        }
        let border = if self.is_rebinding(now) { self.expire } else { self.rebind };
        let pause = border.saturating_duration_since(now) / 2;
        (now + pause.max(Duration::from_secs(60))).min(border)
    }
}

/// How long to wait for the answers of attempt `number` (from 0).
#[must_use]
pub fn patience(number: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << number.min(8)).min(LONGEST_WAIT)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_followed_by_any_before_the_lease_is_lost() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let timer = |renew, rebind, expire| Timer {
            renew: at(renew),
            rebind: at(rebind),
            expire: at(expire),
        };
        // A day: half of what is left, at least a minute.
        let day = timer(43_200, 75_600, 86_400);
        assert_eq!(day.next(at(43_196), at(43_200)), at(43_200 + 16_200));
        assert_eq!(day.next(at(75_586), at(75_590)), at(75_600));
        assert!(!day.is_rebinding(at(75_599)) && day.is_rebinding(at(75_600)));
        assert_eq!(day.next(at(75_600), at(75_600)), at(75_600 + 5_400));
        assert_eq!(day.next(at(86_386), at(86_390)), at(86_400));
        // Twenty seconds: rebinding comes before the end.
        let short = timer(10, 17, 20);
        assert_eq!(short.next(at(10), at(14)), at(17));
        assert_eq!(short.next(at(17), at(18)), at(20));
        // The answer was waited for until rebinding had begun: any server is asked before the end.
        let shorter = timer(10, 14, 20);
        assert_eq!(shorter.next(at(10), at(14)), at(14));
        assert_eq!(shorter.next(at(14), at(18)), at(20));
    }

    #[test]
    fn patience_grows_and_stays_bounded() {
        assert_eq!(patience(0), FIRST_WAIT);
        assert_eq!(patience(2), FIRST_WAIT * 4);
        assert_eq!(patience(u32::MAX), LONGEST_WAIT);
    }
}
