//! The settings under which a client last authenticated: network and port. A box that is restarted
//! while a bundle's new settings are still unproven answers under these as well.
//!
//! Magic (16), format u16, generation u32, u32 length + postcard (network, port), MAC, zeros. The MAC
//! (HMAC-SHA256, key derived from the root of that generation) covers the host's name and all bytes
//! before: no disk decides where a box answers. One unit, the last one of the first slot's place,
//! which no slot reaches.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    UNIT,
    header::FIRST_SLOT,
    slot::{MOST_BYTES, SLOT_BYTES, SLOT_UNITS},
};
use crate::{
    bundle::body::{Label, Network},
    digest::preimage,
};

/// How a box is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Addresses and routes.
    pub network: Network,
    /// TCP port.
    pub port: u16,
}

impl Reach {
    /// How a box is reached before any bundle: DHCP on the first interface with a carrier.
    #[must_use]
    pub fn default_at(port: u16) -> Self {
        let (addresses, gateways) = (heapless::Vec::new(), heapless::Vec::new());
        Self { network: Network { mac: None, vlan: None, addresses, gateways }, port }
    }
}

/// The unit in `state`.
pub const REACH: u64 = FIRST_SLOT + SLOT_UNITS - 1;
const _: () = assert!(MOST_BYTES + UNIT <= SLOT_BYTES, "no slot reaches its place's last unit");

const MAGIC: &[u8; 16] = b"casemate.reach\0\0";
const FORMAT: u16 = 1;
const FIELDS: usize = 16 + 2 + 4 + 4;
const MAC: usize = 32;

/// The unit's bytes. `key` is derived from the root of `generation`.
#[must_use]
pub fn encode(reach: &Reach, host: &Label, generation: u32, key: &[u8; 32]) -> Vec<u8> {
    let body = postcard::to_allocvec(reach).expect("plain data, in memory");
    let mut out = Vec::with_capacity(UNIT);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&generation.to_be_bytes());
    let length = u32::try_from(body.len()).expect("eight addresses and two gateways");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
    let mac = mac(key, host, &out).finalize().into_bytes();
    out.extend_from_slice(&mac);
    out.resize(UNIT, 0);
    out
}

/// Which generation's root its MAC is by; `None`: nothing of ours stands there.
#[must_use]
pub fn generation(unit: &[u8]) -> Option<u32> {
    let ours = unit.starts_with(MAGIC) && unit.get(16..18)? == FORMAT.to_be_bytes();
    ours.then_some(u32::from_be_bytes(*unit.get(18..22)?.first_chunk()?))
}

/// Reads the unit; `None`: torn, damaged, another box's, or never written. Nothing inside is looked at
/// before its MAC is right.
#[must_use]
pub fn decode(unit: &[u8], host: &Label, key: &[u8; 32]) -> Option<Reach> {
    generation(unit)?;
    let length = u32::from_be_bytes(*unit.get(22..FIELDS)?.first_chunk()?) as usize;
    let end = FIELDS.checked_add(length)?;
    let covered = unit.get(..end)?;
    let tag = unit.get(end..end.checked_add(MAC)?)?;
    mac(key, host, covered).verify_slice(tag).ok()?;
    let (reach, rest) = postcard::take_from_bytes::<Reach>(&covered[FIELDS..]).ok()?;
    rest.is_empty().then_some(reach)
}

fn mac(key: &[u8; 32], host: &Label, covered: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(&preimage("reach", &[host.as_str().as_bytes(), covered]));
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{bundle::body::Prefix, golden::golden};

    fn reach() -> Reach {
        let address = |text: &str, length| Prefix { address: text.parse().expect("one"), length };
        let gateway = |text: &str| text.parse().expect("one");
        Reach {
            network: Network {
                mac: Some([0x52, 0x54, 0, 1, 2, 3]),
                vlan: Some(12),
                addresses: [address("10.0.0.7", 24), address("fd00::7", 64)].into_iter().collect(),
                gateways: [gateway("10.0.0.1"), gateway("fd00::1")].into_iter().collect(),
            },
            port: 8443,
        }
    }

    fn host() -> Label {
        Label::parse("alpha").expect("a name")
    }

    #[test]
    fn a_reach_has_the_bytes_it_always_had() {
        let unit = encode(&reach(), &host(), 3, &[7; 32]);
        golden("state/reach.v1.bin", &unit);
        assert_eq!(unit.len(), UNIT);
        assert_eq!(generation(&unit), Some(3));
        assert_eq!(decode(&unit, &host(), &[7; 32]), Some(reach()));
    }

    #[test]
    fn another_hosts_another_roots_and_a_changed_one_are_none() {
        let unit = encode(&reach(), &host(), 3, &[7; 32]);
        let other = Label::parse("beta").expect("a name");
        assert_eq!(decode(&unit, &other, &[7; 32]), None);
        assert_eq!(decode(&unit, &host(), &[8; 32]), None);
        let length = FIELDS + postcard::to_allocvec(&reach()).expect("plain").len() + MAC;
        for bit in 0..length * 8 {
            let mut flipped = unit.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, &host(), &[7; 32]), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(mut bytes: Vec<u8>, ours: bool) {
            if ours && bytes.len() >= 18 {
                bytes[..16].copy_from_slice(MAGIC);
                bytes[16..18].copy_from_slice(&FORMAT.to_be_bytes());
            }
            prop_assert_eq!(decode(&bytes, &host(), &[7; 32]), None);
        }
    }
}
