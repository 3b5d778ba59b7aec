//! The other end of a machine's network card: frames in and out, an address for each neighbour that is
//! asked for, a tiny DHCP server, and the question whether a port is open. No TCP of its own: a SYN
//! that is answered says enough.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Our hardware address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0xca, 0x5e, 0xff];
const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// A wire into a machine's folder.
pub struct Wire {
    socket: UnixDatagram,
    card: PathBuf,
    vlan: Option<u16>,
}

/// A frame without its tag: who sent it, what it is, content.
pub struct Frame {
    /// Its sender.
    pub from: [u8; 6],
    /// Its destination.
    pub to: [u8; 6],
    /// EtherType.
    pub kind: u16,
    /// What follows.
    pub content: Vec<u8>,
}

impl Wire {
    /// Where a machine's second card sends to; frames of other VLANs are not seen.
    ///
    /// # Errors
    /// The socket's.
    pub fn new(folder: &Path, vlan: Option<u16>) -> Result<Self> {
        let peer = folder.join("net.peer");
        let _ = std::fs::remove_file(&peer);
        let socket = UnixDatagram::bind(&peer)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self { socket, card: folder.join("net.card"), vlan })
    }

    /// The next frame, if one comes within a twentieth of a second.
    ///
    /// # Errors
    /// The socket's.
    pub fn next(&self) -> Result<Option<Frame>> {
        let mut bytes = [0; 2048];
        let length = match self.socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let frame = &bytes[..length];
        let (Some(to), Some(from)) = (frame.first_chunk(), array::<6>(frame, 6)) else {
            return Ok(None);
        };
        let mut at = 12;
        let mut kind = be16(frame, at);
        let mut tag = None;
        if kind == Some(VLAN) {
            tag = be16(frame, at + 2).map(|tag| tag & 0xfff);
            at += 4;
            kind = be16(frame, at);
        }
        let Some(kind) = kind.filter(|_| tag == self.vlan) else { return Ok(None) };
        Ok(Some(Frame { from, to: *to, kind, content: frame[at + 2..].to_vec() }))
    }

    /// Sends one; a machine that is off hears nothing.
    pub fn send(&self, to: [u8; 6], kind: u16, content: &[u8]) {
        let mut frame = [to, MAC].concat();
        if let Some(id) = self.vlan {
            frame.extend(VLAN.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        frame.resize(frame.len().max(60), 0);
        let _ = self.socket.send_to(&frame, &self.card);
    }

    /// Whether `host` answers neighbours and has `port` open, asked from `us` until it is so or the
    /// time is over.
    ///
    /// # Errors
    /// The socket's.
    pub fn is_open(&self, us: IpAddr, host: IpAddr, port: u16, patience: Duration) -> Result<bool> {
        let end = Instant::now() + patience;
        let mut neighbour = None;
        let mut asked = Instant::now() - Duration::from_secs(1);
        while Instant::now() < end {
            if asked.elapsed() > Duration::from_millis(500) {
                asked = Instant::now();
                match neighbour {
                    None => self.look_for(us, host),
                    Some(mac) => self.send(mac, ethertype(host), &syn(us, host, port)),
                }
            }
            let Some(frame) = self.next()? else { continue };
            if let Some((mac, address)) = neighbour_of(&frame)
                && address == host
            {
                neighbour.get_or_insert(mac);
            }
            self.answer_neighbour(&frame, us);
            if is_syn_ack(&frame, host, us, port) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look_for(&self, us: IpAddr, host: IpAddr) {
        match (us, host) {
            (IpAddr::V4(us), IpAddr::V4(host)) => {
                self.send([0xff; 6], ARP, &arp(1, us, [0; 6], host));
            }
            (IpAddr::V6(us), IpAddr::V6(host)) => {
                let group = solicited(host);
                let end = group.octets();
                let mac = [0x33, 0x33, end[12], end[13], end[14], end[15]];
                self.send(mac, IPV6, &neighbour(SOLICITATION, us, group, host));
            }
            _ => {}
        }
    }

    /// Says that `us` is here, where the frame asks for it.
    pub fn answer_neighbour(&self, frame: &Frame, us: IpAddr) {
        match (us, frame.kind) {
            (IpAddr::V4(us), ARP)
                if be16(&frame.content, 6) == Some(1) && v4(&frame.content, 24) == Some(us) =>
            {
                if let Some(host) = v4(&frame.content, 14) {
                    self.send(frame.from, ARP, &arp(2, us, frame.from, host));
                }
            }
            (IpAddr::V6(us), IPV6)
                if frame.content.get(40) == Some(&SOLICITATION)
                    && v6(&frame.content, 48) == Some(us) =>
            {
                if let Some(host) = v6(&frame.content, 8) {
                    self.send(frame.from, IPV6, &neighbour(ADVERTISEMENT, us, host, us));
                }
            }
            _ => {}
        }
    }
}

/// What a client of DHCP sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Message type (RFC 2132, 9.6): 1 discover, 3 request.
    pub kind: u8,
    /// The address that it has (`ciaddr`).
    pub has: Ipv4Addr,
    /// Sent to everybody.
    pub broadcast: bool,
    transaction: [u8; 4],
    mac: [u8; 6],
}

/// A DHCP server that gives one address, when it is told to.
pub struct Dhcp {
    /// Its own address, also the router.
    pub server: Ipv4Addr,
    /// The address that it gives.
    pub gives: Ipv4Addr,
    /// For so many seconds.
    pub lease: u32,
}

impl Dhcp {
    /// Reads a question.
    #[must_use]
    pub fn asked(frame: &Frame) -> Option<Asked> {
        let packet = &frame.content;
        let ours = frame.kind == IPV4 && packet.get(9) == Some(&UDP);
        if !ours || be16(packet, 22) != Some(67) {
            return None;
        }
        let dhcp = packet.get(28..)?;
        let mut options = dhcp.get(240..)?;
        let mut kind = None;
        while let [option, length, rest @ ..] = options {
            if *option == 255 {
                break;
            }
            if *option == 53 {
                kind = rest.first().copied();
            }
            options = rest.get(usize::from(*length)..)?;
        }
        Some(Asked {
            kind: kind?,
            has: v4(dhcp, 12)?,
            broadcast: v4(packet, 16)? == Ipv4Addr::BROADCAST,
            transaction: array(dhcp, 4)?,
            mac: array(dhcp, 28)?,
        })
    }

    /// Offers or gives.
    pub fn answer(&self, wire: &Wire, asked: &Asked) {
        let mut dhcp = vec![0; 240];
        dhcp[..4].copy_from_slice(&[2, 1, 6, 0]);
        dhcp[4..8].copy_from_slice(&asked.transaction);
        dhcp[16..20].copy_from_slice(&self.gives.octets());
        dhcp[28..34].copy_from_slice(&asked.mac);
        dhcp[236..].copy_from_slice(&[99, 130, 83, 99]);
        dhcp.extend([53, 1, if asked.kind == 1 { 2 } else { 5 }]);
        for (option, address) in
            [(54, self.server), (1, Ipv4Addr::new(255, 255, 255, 0)), (3, self.server)]
        {
            dhcp.extend([option, 4]);
            dhcp.extend(address.octets());
        }
        dhcp.extend([51, 4]);
        dhcp.extend(self.lease.to_be_bytes());
        dhcp.push(255);
        let to = if asked.has.is_unspecified() { Ipv4Addr::BROADCAST } else { asked.has };
        let mac = if to.is_broadcast() { [0xff; 6] } else { asked.mac };
        let mut udp = Vec::new();
        udp.extend(67_u16.to_be_bytes());
        udp.extend(68_u16.to_be_bytes());
        let length = u16::try_from(8 + dhcp.len()).unwrap_or(u16::MAX);
        udp.extend(length.to_be_bytes());
        // No checksum, as RFC 768 allows.
        udp.extend([0, 0]);
        udp.extend(dhcp);
        wire.send(mac, IPV4, &ipv4(UDP, self.server, to, &udp));
    }

    /// Answers until a question comes that `until` wants, which is not answered; neighbours are.
    ///
    /// # Errors
    /// None within the time.
    pub fn serve(
        &self,
        wire: &Wire,
        patience: Duration,
        until: impl Fn(&Asked) -> bool,
    ) -> Result<Asked> {
        let end = Instant::now() + patience;
        let mut seen = Vec::new();
        while Instant::now() < end {
            let Some(frame) = wire.next()? else { continue };
            wire.answer_neighbour(&frame, self.server.into());
            let Some(asked) = Self::asked(&frame) else { continue };
            if until(&asked) {
                return Ok(asked);
            }
            self.answer(wire, &asked);
            seen.push(asked);
        }
        bail!("the expected DHCP question did not come; seen: {seen:?}")
    }

    /// Waits for a question without answering any.
    ///
    /// # Errors
    /// None within the time.
    pub fn hear(
        &self,
        wire: &Wire,
        patience: Duration,
        wanted: impl Fn(&Asked) -> bool,
    ) -> Result<Asked> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let Some(frame) = wire.next()? else { continue };
            wire.answer_neighbour(&frame, self.server.into());
            if let Some(asked) = Self::asked(&frame).filter(&wanted) {
                return Ok(asked);
            }
        }
        Err(anyhow::anyhow!("nobody asked")).context("DHCP")
    }
}

fn ethertype(host: IpAddr) -> u16 {
    if host.is_ipv4() { IPV4 } else { IPV6 }
}

/// Who says that it has which address.
fn neighbour_of(frame: &Frame) -> Option<([u8; 6], IpAddr)> {
    match frame.kind {
        ARP => Some((frame.from, v4(&frame.content, 14)?.into())),
        IPV6 if frame.content.get(40) == Some(&ADVERTISEMENT) => {
            Some((frame.from, v6(&frame.content, 48)?.into()))
        }
        _ => None,
    }
}

/// ARP (RFC 826).
fn arp(operation: u8, us: Ipv4Addr, mac: [u8; 6], host: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &MAC, &us.octets(), &mac, &host.octets()].concat()
}

/// A neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4), with our hardware address.
fn neighbour(kind: u8, us: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let flags = if kind == ADVERTISEMENT { 0x60 } else { 0 };
    let option = if kind == ADVERTISEMENT { 2 } else { 1 };
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend([option, 1]);
    icmp.extend(MAC);
    let sum = checksum(&[&pseudo(us.into(), to.into(), ICMPV6, icmp.len()), &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(ICMPV6, us, to, &icmp)
}

fn solicited(host: Ipv6Addr) -> Ipv6Addr {
    let end = host.octets();
    let last = |at: usize| u16::from_be_bytes([end[at], end[at + 1]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | last(12) & 0xff, last(14))
}

fn syn(us: IpAddr, host: IpAddr, port: u16) -> Vec<u8> {
    let mut tcp = OUR_PORT.to_be_bytes().to_vec();
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&[&pseudo(us, host, TCP, tcp.len()), &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    match (us, host) {
        (IpAddr::V4(us), IpAddr::V4(host)) => ipv4(TCP, us, host, &tcp),
        (IpAddr::V6(us), IpAddr::V6(host)) => ipv6(TCP, us, host, &tcp),
        _ => Vec::new(),
    }
}

const OUR_PORT: u16 = 40_001;

fn is_syn_ack(frame: &Frame, host: IpAddr, us: IpAddr, port: u16) -> bool {
    let content = &frame.content;
    let (header, from, to) = match (frame.kind, host) {
        (IPV4, IpAddr::V4(_)) => {
            (20, v4(content, 12).map(IpAddr::V4), v4(content, 16).map(IpAddr::V4))
        }
        (IPV6, IpAddr::V6(_)) => {
            (40, v6(content, 8).map(IpAddr::V6), v6(content, 24).map(IpAddr::V6))
        }
        _ => return false,
    };
    (from, to) == (Some(host), Some(us))
        && be16(content, header) == Some(port)
        && be16(content, header + 2) == Some(OUR_PORT)
        && content.get(header + 13) == Some(&SYN_ACK)
}

fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], content].concat()
}

fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    // A neighbour's message is believed with the full hop limit alone (RFC 4861, 7.1).
    header.extend([next, 255]);
    header.extend(from.octets());
    header.extend(to.octets());
    [&header[..], content].concat()
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(v4) => out.extend(v4.octets()),
            IpAddr::V6(v6) => out.extend(v6.octets()),
        }
    }
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    match from {
        IpAddr::V4(_) => {
            out.extend([0, protocol]);
            out.extend(&length.to_be_bytes()[2..]);
        }
        IpAddr::V6(_) => {
            out.extend(length.to_be_bytes());
            out.extend([0, 0, 0, protocol]);
        }
    }
    out
}

/// The internet checksum (RFC 1071) over parts of even length but the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array::<4>(bytes, at).map(Ipv4Addr::from)
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    array::<16>(bytes, at).map(Ipv6Addr::from)
}
