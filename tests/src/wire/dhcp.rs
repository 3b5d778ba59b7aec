//! A DHCP server of one address, which serves, keeps silent or refuses as a test tells it.

use std::net::Ipv4Addr;

use super::packet::{Frame, IPV4, UDP, array, be16, udp, v4};

/// Message types (RFC 2132, 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
/// A client's request, which may be a renewal.
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

/// What a client of DHCP sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    kind: u8,
    /// The address that it has (`ciaddr`).
    pub has: Ipv4Addr,
    /// Sent to everybody.
    pub broadcast: bool,
    to: Ipv4Addr,
    transaction: [u8; 4],
    mac: [u8; 6],
}

/// A server, also the router of its network.
#[derive(Clone, Copy, Debug)]
pub struct Dhcp {
    /// Its address.
    pub server: Ipv4Addr,
    /// The address that it gives.
    pub gives: Ipv4Addr,
    /// Seconds after which it is to be renewed, then rebound, and of the lease.
    pub times: [u32; 3],
    /// It refuses whoever has an address.
    pub refuses: bool,
}

impl Asked {
    /// Whether it asks for longer for what it has.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.kind == REQUEST && !self.has.is_unspecified()
    }

    pub(super) fn decode(frame: &Frame) -> Option<Self> {
        let packet = &frame.content;
        let to_a_server =
            frame.kind == IPV4 && packet.get(9) == Some(&UDP) && be16(packet, 22) == Some(67);
        let dhcp = packet.get(28..).filter(|_| to_a_server)?;
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
        let to = v4(packet, 16)?;
        Some(Self {
            kind: kind?,
            has: v4(dhcp, 12)?,
            broadcast: to == Ipv4Addr::BROADCAST,
            to,
            transaction: array(dhcp, 4)?,
            mac: array(dhcp, 28)?,
        })
    }
}

impl Dhcp {
    /// The answer's hardware address and packet; `None`: another server is asked.
    pub(super) fn answer(&self, asked: &Asked) -> Option<([u8; 6], Vec<u8>)> {
        if !asked.broadcast && asked.to != self.server {
            return None;
        }
        let refused = self.refuses && asked.renews();
        let kind = match asked.kind {
            DISCOVER => OFFER,
            _ if refused => REFUSE,
            _ => ACKNOWLEDGE,
        };
        let mut dhcp = vec![0; 240];
        dhcp[..4].copy_from_slice(&[2, 1, 6, 0]);
        dhcp[4..8].copy_from_slice(&asked.transaction);
        if !refused {
            dhcp[16..20].copy_from_slice(&self.gives.octets());
        }
        dhcp[28..34].copy_from_slice(&asked.mac);
        dhcp[236..].copy_from_slice(&[99, 130, 83, 99]);
        dhcp.extend([53, 1, kind, 54, 4]);
        dhcp.extend(self.server.octets());
        if !refused {
            dhcp.extend([1, 4, 255, 255, 255, 0, 3, 4]);
            dhcp.extend(self.server.octets());
            for (option, seconds) in [58, 59, 51].into_iter().zip(self.times) {
                dhcp.extend([option, 4]);
                dhcp.extend(seconds.to_be_bytes());
            }
        }
        dhcp.push(255);
        // Whoever has no address hears what is sent to all (RFC 2131, 4.1).
        let unknown = asked.has.is_unspecified();
        let (to, mac) =
            if unknown { (Ipv4Addr::BROADCAST, [0xff; 6]) } else { (asked.has, asked.mac) };
        Some((mac, udp((self.server, 67), (to, 68), &dhcp)))
    }
}
