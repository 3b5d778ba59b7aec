//! rtnetlink, as much as one interface needs: links up, addresses and routes in and out. Requests are
//! built here byte by byte (the crates that do it bring an async runtime's worth of others).

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use casemate_formats::bundle::body::Prefix;
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

use super::interface::Interface;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const REQUEST: u16 = 0x001;
const ACK: u16 = 0x004;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// The address is used at once: two boxes with one address are a typing error that the bundle's
/// check finds, and waiting a second for a neighbour to complain is a second without service.
const IFA_F_NODAD: u8 = 0x02;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFLA_LINK: u16 = 5;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;

const HEADER: usize = 16;
/// An answer is a header, an error number and the request's header; the kernel may add an attribute.
const ANSWER_BYTES: usize = 4096;
/// A datagram of a list: the kernel makes none longer (NLMSG_GOODSIZE, or what the reader offers).
const LIST_BYTES: usize = 32 * 1024;

/// A socket to the kernel's routing tables. Needs CAP_NET_ADMIN.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces, by number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        self.send(Message::list(RTM_GETLINK, &link(0, 0, 0)))?;
        let mut found = Vec::new();
        let mut datagram = vec![0; LIST_BYTES];
        loop {
            let read = recv(self.socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
            if listed(&datagram[..read.min(LIST_BYTES)], self.sequence, &mut found)? {
                found.sort_by_key(|interface| interface.index);
                return Ok(found);
            }
        }
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn up(&mut self, interface: u32) -> io::Result<()> {
        self.ask(link_up(interface))
    }

    /// Makes a VLAN interface on another one.
    ///
    /// # Errors
    /// The kernel's; one that exists already is none.
    pub fn add_vlan(&mut self, on: u32, id: u16, name: &str) -> io::Result<()> {
        accept(self.ask(vlan(on, id, name)), nix::libc::EEXIST)
    }

    /// Takes a VLAN interface away.
    ///
    /// # Errors
    /// The kernel's; one that is not there is none.
    pub fn delete_link(&mut self, interface: u32) -> io::Result<()> {
        let message = Message::new(RTM_DELLINK, 0, &link(interface, 0, 0));
        accept(self.ask(message), nix::libc::ENODEV)
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The kernel's; one that it has already is none.
    pub fn add_address(&mut self, interface: u32, address: Prefix) -> io::Result<()> {
        self.ask(address_message(RTM_NEWADDR, interface, address))
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// The kernel's; one that it has not is none.
    pub fn delete_address(&mut self, interface: u32, address: Prefix) -> io::Result<()> {
        let result = self.ask(address_message(RTM_DELADDR, interface, address));
        accept(result, nix::libc::EADDRNOTAVAIL)
    }

    /// Sets the default route of a gateway's family.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_default_route(&mut self, interface: u32, gateway: IpAddr) -> io::Result<()> {
        self.ask(route_message(RTM_NEWROUTE, interface, gateway))
    }

    /// Takes a default route away.
    ///
    /// # Errors
    /// The kernel's; one that is not there is none.
    pub fn delete_default_route(&mut self, interface: u32, gateway: IpAddr) -> io::Result<()> {
        accept(self.ask(route_message(RTM_DELROUTE, interface, gateway)), nix::libc::ESRCH)
    }

    fn send(&mut self, mut message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), bytes, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    fn ask(&mut self, message: Message) -> io::Result<()> {
        self.send(message)?;
        let mut answer = [0; ANSWER_BYTES];
        loop {
            let read = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            if let Some(result) = acknowledged(&answer[..read.min(ANSWER_BYTES)], self.sequence) {
                return result;
            }
        }
    }
}

fn accept(result: io::Result<()>, harmless: i32) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(harmless) => Ok(()),
        other => other,
    }
}

/// The messages of a datagram: kind, sequence number, content. Ends at the first that makes no sense.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let content = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, content))
    })
}

/// The attributes behind a message's fixed part: kind and content.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]), content))
    })
}

/// Looks for the acknowledgement of `sequence` among the messages of one datagram.
fn acknowledged(datagram: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let mut ours = messages(datagram).filter(|(_, number, _)| *number == sequence);
    let (_, _, content) = ours.find(|(kind, _, _)| *kind == NLMSG_ERROR)?;
    let error = i32::from_ne_bytes(*content.first_chunk()?);
    Some(match error.checked_neg() {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number)),
        None => Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Adds the interfaces of one datagram; `true`: the list is complete.
fn listed(datagram: &[u8], sequence: u32, found: &mut Vec<Interface>) -> io::Result<bool> {
    for (kind, number, content) in messages(datagram) {
        match kind {
            _ if number != sequence => {}
            RTM_NEWLINK => found.extend(Interface::decode(content)),
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                return acknowledged(datagram, sequence).unwrap_or(Ok(())).map(|()| true);
            }
            _ => {}
        }
    }
    Ok(false)
}

/// A request under construction: header, a fixed part, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        Self::with(kind, ACK | flags, fixed)
    }

    /// A list ends by itself, without an acknowledgement.
    fn list(kind: u16, fixed: &[u8]) -> Self {
        Self::with(kind, DUMP, fixed)
    }

    fn with(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, content: &[u8]) -> Self {
        push_attribute(&mut self.0, kind, content);
        self
    }

    fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).expect("requests are below 4 KiB");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.0
    }
}

/// `struct rtattr`: length without the padding, kind, content, padding to four bytes.
pub(super) fn push_attribute(into: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(content.len() + 4).expect("attributes are below 4 KiB");
    into.extend_from_slice(&length.to_ne_bytes());
    into.extend_from_slice(&kind.to_ne_bytes());
    into.extend_from_slice(content);
    into.resize(into.len().next_multiple_of(4), 0);
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn link_up(interface: u32) -> Message {
    Message::new(RTM_NEWLINK, 0, &link(interface, IFF_UP, IFF_UP))
}

fn vlan(on: u32, id: u16, name: &str) -> Message {
    let mut data = Vec::new();
    push_attribute(&mut data, IFLA_VLAN_ID, &id.to_ne_bytes());
    let mut info = Vec::new();
    push_attribute(&mut info, IFLA_INFO_KIND, b"vlan");
    push_attribute(&mut info, IFLA_INFO_DATA, &data);
    Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE, &link(0, 0, 0))
        .attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
        .attribute(IFLA_LINK, &on.to_ne_bytes())
        .attribute(IFLA_LINKINFO, &info)
}

/// `struct ifaddrmsg` with the address.
fn address_message(kind: u16, interface: u32, prefix: Prefix) -> Message {
    let (family, bytes) = octets(prefix.address);
    let mut fixed = [family, prefix.length, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&interface.to_ne_bytes());
    let flags = if kind == RTM_NEWADDR { CREATE | REPLACE } else { 0 };
    match prefix.address {
        IpAddr::V4(address) => {
            let message = Message::new(kind, flags, &fixed)
                .attribute(IFA_LOCAL, &bytes)
                .attribute(IFA_ADDRESS, &bytes);
            match broadcast(address, prefix.length) {
                Some(broadcast) => message.attribute(IFA_BROADCAST, &broadcast.octets()),
                None => message,
            }
        }
        IpAddr::V6(_) => {
            fixed[2] = IFA_F_NODAD;
            Message::new(kind, flags, &fixed).attribute(IFA_ADDRESS, &bytes)
        }
    }
}

/// `struct rtmsg` of a default route.
fn route_message(kind: u16, interface: u32, gateway: IpAddr) -> Message {
    let (family, bytes) = octets(gateway);
    let fixed =
        [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
    let flags = if kind == RTM_NEWROUTE { CREATE | REPLACE } else { 0 };
    Message::new(kind, flags, &fixed)
        .attribute(RTA_GATEWAY, &bytes)
        .attribute(RTA_OIF, &interface.to_ne_bytes())
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    let family = |family: i32| u8::try_from(family).expect("AF_INET and AF_INET6 are below 256");
    match address {
        IpAddr::V4(v4) => (family(nix::libc::AF_INET), v4.octets().to_vec()),
        IpAddr::V6(v6) => (family(nix::libc::AF_INET6), v6.octets().to_vec()),
    }
}

/// The directed broadcast address; networks of one or two addresses have none.
fn broadcast(address: Ipv4Addr, length: u8) -> Option<Ipv4Addr> {
    (length < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | u32::MAX >> length))
}

#[cfg(test)]
mod tests;
