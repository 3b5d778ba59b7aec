//! DHCP messages (RFC 2131, RFC 2132): the two kinds that are sent, and a bounded reading of what
//! any host on the network may answer.

use std::net::Ipv4Addr;

use casemate_formats::bundle::body::Prefix;
use heapless::Vec;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Header up to and with the magic cookie.
const FIXED: usize = 240;
/// RFC 2131 section 2: relays and old servers expect at least 300 bytes.
const LEAST: usize = 300;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
/// RFC 2131 section 4.1: answers come by broadcast, which an interface without an address can read.
const BROADCAST: [u8; 2] = [0x80, 0];

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const ADDRESS: u8 = 50;
const LEASE: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const RENEWAL: u8 = 58;
const REBINDING: u8 = 59;
const CLIENT: u8 = 61;
const END: u8 = 255;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const ASK: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

/// Shortest lease that is believed, in seconds: a server (or whoever answers in its place) cannot
/// make the box talk all the time.
const LEAST_LEASE: u32 = 20;

/// Who asks, in every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Transaction id.
    pub transaction: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Seconds since the first attempt.
    pub seconds: u16,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Is there a server?
    Discover,
    /// This offer, please.
    Select {
        /// The address offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// The address that this box has, for longer.
    Renew {
        /// The address.
        address: Ipv4Addr,
    },
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An offer.
    Offer {
        /// The address.
        address: Ipv4Addr,
        /// Who offers.
        server: Ipv4Addr,
    },
    /// It is ours.
    Lease(Lease),
    /// It is not (any more).
    Refused,
}

/// An address for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub prefix: Prefix,
    /// The default route.
    pub router: Option<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Seconds after which it is renewed with that server.
    pub renew: u32,
    /// Seconds after which any server is asked.
    pub rebind: u32,
    /// Seconds after which it must not be used.
    pub expire: u32,
}

/// Encodes a message (RFC 2131, tables 1 and 5).
#[must_use]
pub fn encode(asker: &Asker, sent: Sent) -> std::vec::Vec<u8> {
    let mut out = vec![0; FIXED];
    out[0..4].copy_from_slice(&[REQUEST, ETHERNET, 6, 0]);
    out[4..8].copy_from_slice(&asker.transaction.to_be_bytes());
    out[8..10].copy_from_slice(&asker.seconds.to_be_bytes());
    out[28..34].copy_from_slice(&asker.mac);
    out[236..240].copy_from_slice(&MAGIC);
    let mut option = |kind: u8, content: &[u8]| {
        out.extend([kind, u8::try_from(content.len()).expect("options are short")]);
        out.extend(content);
    };
    match sent {
        Sent::Discover => option(KIND, &[DISCOVER]),
        Sent::Select { address, server } => {
            option(KIND, &[ASK]);
            option(ADDRESS, &address.octets());
            option(SERVER, &server.octets());
        }
        Sent::Renew { .. } => option(KIND, &[ASK]),
    }
    option(CLIENT, &[&[ETHERNET], &asker.mac[..]].concat());
    option(WANTED, &[MASK, ROUTER, LEASE, RENEWAL, REBINDING]);
    out.push(END);
    match sent {
        Sent::Renew { address } => out[12..16].copy_from_slice(&address.octets()),
        Sent::Discover | Sent::Select { .. } => out[10..12].copy_from_slice(&BROADCAST),
    }
    out.resize(out.len().max(LEAST), PAD);
    out
}

/// Reads an answer to this asker; `None`: it is for another, or makes no sense.
#[must_use]
pub fn decode(asker: &Asker, bytes: &[u8]) -> Option<Answer> {
    let fixed = bytes.get(..FIXED)?;
    let for_us = fixed[0] == REPLY
        && fixed[1..3] == [ETHERNET, 6]
        && fixed[4..8] == asker.transaction.to_be_bytes()
        && fixed[28..34] == asker.mac
        && fixed[236..240] == MAGIC;
    if !for_us {
        return None;
    }
    let options = Options::parse(&bytes[FIXED..])?;
    let address = Ipv4Addr::from(*fixed[16..20].first_chunk()?);
    match options.byte(KIND)? {
        OFFER if usable(address) => {
            Some(Answer::Offer { address, server: options.address(SERVER)? })
        }
        ACKNOWLEDGE if usable(address) => Some(Answer::Lease(options.lease(address)?)),
        REFUSE => Some(Answer::Refused),
        _ => None,
    }
}

/// An address that a host may have.
fn usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0)
}

/// The options that are looked at, each once.
struct Options<'a>(Vec<(u8, &'a [u8]), 8>);

impl<'a> Options<'a> {
    /// Nobody can make this grow: each of seven kinds is kept once, a second one is refused.
    fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut found = Vec::new();
        loop {
            let (&kind, rest) = bytes.split_first()?;
            match kind {
                END => return Some(Self(found)),
                PAD => bytes = rest,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let content = rest.get(..usize::from(length))?;
                    bytes = &rest[usize::from(length)..];
                    if matches!(kind, MASK | ROUTER | LEASE | KIND | SERVER | RENEWAL | REBINDING) {
                        if found.iter().any(|(k, _)| *k == kind) {
                            return None;
                        }
                        found.push((kind, content)).ok()?;
                    }
                }
            }
        }
    }

    fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(k, _)| *k == kind).map(|(_, content)| *content)
    }

    fn byte(&self, kind: u8) -> Option<u8> {
        match self.get(kind)? {
            [byte] => Some(*byte),
            _ => None,
        }
    }

    fn number(&self, kind: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// The first of one or more addresses.
    fn address(&self, kind: u8) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from(*self.get(kind)?.first_chunk::<4>()?);
        usable(address).then_some(address)
    }

    fn lease(&self, address: Ipv4Addr) -> Option<Lease> {
        let mask = self.number(MASK)?;
        let length = u8::try_from(mask.leading_ones()).ok()?;
        if mask.count_ones() != u32::from(length) || length == 0 {
            return None;
        }
        let expire = self.number(LEASE)?.max(LEAST_LEASE);
        // RFC 2131 section 4.4.5: half and seven eighths, unless the server says something sensible.
        let rebind = expire / 8 * 7;
        let rebind = self.number(REBINDING).filter(|t| *t < expire).unwrap_or(rebind);
        let renew =
            self.number(RENEWAL).filter(|t| *t < rebind).unwrap_or((expire / 2).min(rebind));
        Some(Lease {
            prefix: Prefix { address: address.into(), length },
            router: self.address(ROUTER),
            server: self.address(SERVER)?,
            renew: renew.max(LEAST_LEASE / 2),
            rebind: rebind.max(LEAST_LEASE / 2),
            expire,
        })
    }
}

#[cfg(test)]
mod tests;
