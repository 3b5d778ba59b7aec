//! Frames as bytes: what the other end of a wire must write and read of ARP, neighbour discovery, TCP and
//! UDP. No more than that: it is no network stack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::MAC;

pub(super) const VLAN: u16 = 0x8100;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// Two ends of a connection: theirs, ours.
pub(super) type Ends = [(IpAddr, u16); 2];

/// A frame without its tag.
pub(super) struct Frame {
    /// Its sender.
    pub from: [u8; 6],
    /// Its VLAN.
    pub tag: Option<u16>,
    /// EtherType.
    pub kind: u16,
    /// What follows.
    pub content: Vec<u8>,
}

impl Frame {
    /// Reads one; `None`: it makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let from = array(bytes, 6)?;
        let mut kind = be16(bytes, 12)?;
        let (mut tag, mut at) = (None, 14);
        if kind == VLAN {
            tag = Some(be16(bytes, 14)? & 0xfff);
            kind = be16(bytes, 16)?;
            at = 18;
        }
        Some(Self { from, tag, kind, content: bytes.get(at..)?.to_vec() })
    }

    /// Its bytes, to `to` from us.
    pub fn encode(to: [u8; 6], tag: Option<u16>, kind: u16, content: &[u8]) -> Vec<u8> {
        let mut frame = [to, MAC].concat();
        if let Some(id) = tag {
            frame.extend(VLAN.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        frame.resize(frame.len().max(60), 0);
        frame
    }

    /// Who says that it has which address.
    pub fn neighbour(&self) -> Option<IpAddr> {
        match self.kind {
            ARP => Some(v4(&self.content, 14)?.into()),
            IPV6 if self.content.get(40) == Some(&ADVERTISEMENT) => {
                Some(v6(&self.content, 48)?.into())
            }
            _ => None,
        }
    }

    /// Which address is asked for, and by whom.
    pub fn asks_for(&self) -> Option<(IpAddr, IpAddr)> {
        match self.kind {
            ARP if be16(&self.content, 6) == Some(1) => {
                Some((v4(&self.content, 24)?.into(), v4(&self.content, 14)?.into()))
            }
            IPV6 if self.content.get(40) == Some(&SOLICITATION) => {
                Some((v6(&self.content, 48)?.into(), v6(&self.content, 8)?.into()))
            }
            _ => None,
        }
    }

    /// Which port said to whom that it is open.
    pub fn opened(&self) -> Option<Ends> {
        let content = &self.content;
        let (header, from, to): (_, IpAddr, IpAddr) = match self.kind {
            IPV4 => (20, v4(content, 12)?.into(), v4(content, 16)?.into()),
            IPV6 => (40, v6(content, 8)?.into(), v6(content, 24)?.into()),
            _ => return None,
        };
        let open = content.get(header + 13) == Some(&SYN_ACK);
        open.then_some([(from, be16(content, header)?), (to, be16(content, header + 2)?)])
    }
}

/// The question who has `host`: destination, EtherType, content.
pub(super) fn question(us: IpAddr, host: IpAddr) -> Option<([u8; 6], u16, Vec<u8>)> {
    match (us, host) {
        (IpAddr::V4(us), IpAddr::V4(host)) => Some(([0xff; 6], ARP, arp(1, us, [0; 6], host))),
        (IpAddr::V6(us), IpAddr::V6(host)) => {
            let group = solicited(host);
            let end = group.octets();
            let mac = [0x33, 0x33, end[12], end[13], end[14], end[15]];
            Some((mac, IPV6, neighbour(SOLICITATION, us, group, host)))
        }
        _ => None,
    }
}

/// The answer that `us` is here.
pub(super) fn answer(us: IpAddr, to: [u8; 6], host: IpAddr) -> Option<(u16, Vec<u8>)> {
    match (us, host) {
        (IpAddr::V4(us), IpAddr::V4(host)) => Some((ARP, arp(2, us, to, host))),
        (IpAddr::V6(us), IpAddr::V6(host)) => Some((IPV6, neighbour(ADVERTISEMENT, us, host, us))),
        _ => None,
    }
}

/// A router's announcement to everybody (RFC 4861, 4.2): here is the way out, and addresses are made of
/// this /64 (RFC 4862, 5.5.3).
pub(super) fn announcement(prefix: Ipv6Addr) -> ([u8; 6], u16, Vec<u8>) {
    let us = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut icmp = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0, 0x07, 0x08];
    icmp.extend([0; 8]);
    icmp.extend([1, 1]);
    icmp.extend(MAC);
    // On-link and autonomous, valid and preferred for two hours.
    icmp.extend([3, 4, 64, 0xc0, 0, 0, 0x1c, 0x20, 0, 0, 0x1c, 0x20, 0, 0, 0, 0]);
    icmp.extend(prefix.octets());
    ([0x33, 0x33, 0, 0, 0, 1], IPV6, icmpv6(us, all, icmp))
}

/// The address that a card makes of an announced /64 (RFC 4291, appendix A).
#[must_use]
pub fn announced(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let mut bytes = prefix.octets();
    let end = [mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]];
    bytes[8..].copy_from_slice(&end);
    bytes.into()
}

/// The first packet of a connection.
pub(super) fn syn([(host, port), (us, ours)]: Ends) -> Option<(u16, Vec<u8>)> {
    let mut tcp = ours.to_be_bytes().to_vec();
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&[&pseudo(us, host, TCP, tcp.len()), &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    match (us, host) {
        (IpAddr::V4(us), IpAddr::V4(host)) => Some((IPV4, ipv4(TCP, us, host, &tcp))),
        (IpAddr::V6(us), IpAddr::V6(host)) => Some((IPV6, ipv6(TCP, us, host, &tcp))),
        _ => None,
    }
}

/// UDP over IPv4.
pub(super) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), content: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(from.1.to_be_bytes());
    udp.extend(to.1.to_be_bytes());
    let length = u16::try_from(8 + content.len()).unwrap_or(u16::MAX);
    udp.extend(length.to_be_bytes());
    // No checksum, as RFC 768 allows.
    udp.extend([0, 0]);
    udp.extend(content);
    ipv4(UDP, from.0, to.0, &udp)
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
    icmpv6(us, to, icmp)
}

fn icmpv6(us: Ipv6Addr, to: Ipv6Addr, mut icmp: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&[&pseudo(us.into(), to.into(), ICMPV6, icmp.len()), &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(ICMPV6, us, to, &icmp)
}

fn solicited(host: Ipv6Addr) -> Ipv6Addr {
    let end = host.octets();
    let last = |at: usize| u16::from_be_bytes([end[at], end[at + 1]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | last(12) & 0xff, last(14))
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

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(super) fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array::<4>(bytes, at).map(Ipv4Addr::from)
}

pub(super) fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    array::<16>(bytes, at).map(Ipv6Addr::from)
}
