//! Which network interface is the box's: by its MAC address, or the first that has a carrier. As the
//! kernel lists them over netlink (rtnetlink(7), RTM_NEWLINK), so that no file is opened for it.

use super::netlink::attributes;

/// ARPHRD_ETHER of `<linux/if_arp.h>`.
const ETHERNET: u16 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_CARRIER: u16 = 33;
/// The device that an interface stands on; loopback, bonds, VLANs and the like stand on none.
const IFLA_PARENT_DEV_NAME: u16 = 56;
/// Bytes of `struct ifinfomsg`, before the attributes.
const FIXED: usize = 16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its hardware address; zeros for one that has none.
    pub mac: [u8; 6],
    /// Whether a cable is in it and the other end is there. False while the interface is off.
    pub carrier: bool,
    /// Whether it is Ethernet that stands on a device: physical, or a virtual machine's.
    pub physical: bool,
}

impl Interface {
    /// One message of the kernel's list, without its netlink header; `None`: it makes no sense.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (fixed, rest) = message.split_at_checked(FIXED)?;
        let kind = u16::from_ne_bytes([fixed[2], fixed[3]]);
        let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let mut device = false;
        let mut found =
            Self { name: String::new(), index, mac: [0; 6], carrier: false, physical: false };
        for (attribute, content) in attributes(rest) {
            match attribute {
                IFLA_IFNAME => {
                    let name = content.split(|byte| *byte == 0).next()?;
                    found.name = std::str::from_utf8(name).ok()?.to_owned();
                }
                IFLA_ADDRESS => found.mac = content.try_into().unwrap_or_default(),
                IFLA_CARRIER => found.carrier = content.first() == Some(&1),
                IFLA_PARENT_DEV_NAME => device = true,
                _ => {}
            }
        }
        found.physical = kind == ETHERNET && device;
        (!found.name.is_empty()).then_some(found)
    }
}

/// The first of these that has a carrier; none as long as an earlier one `is_coming`.
#[must_use]
pub fn first_with_carrier(
    cards: &[Interface],
    is_coming: impl Fn(&Interface) -> bool,
) -> Option<&Interface> {
    cards.iter().find(|card| card.carrier || is_coming(card)).filter(|card| card.carrier)
}

/// A MAC address as people write it.
#[must_use]
pub fn show_mac(mac: &[u8; 6]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::netlink::push_attribute, *};

    fn message(kind: u16, index: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&index.to_ne_bytes());
        for (attribute, content) in attributes {
            push_attribute(&mut bytes, *attribute, content);
        }
        bytes
    }

    #[test]
    fn loopback_and_bonds_are_no_interfaces_of_the_box() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let bond: &[(u16, &[u8])] = &[(IFLA_IFNAME, b"bond0\0"), (IFLA_ADDRESS, &mac)];
        let card = [bond, &[(IFLA_PARENT_DEV_NAME, b"0000:00:03.0\0"), (IFLA_CARRIER, &[1])]];
        let bond = Interface::decode(&message(ETHERNET, 2, bond)).expect("a bond");
        assert!(!bond.physical && !bond.carrier);
        let card = Interface::decode(&message(ETHERNET, 3, &card.concat())).expect("a card");
        assert!(card.physical && card.carrier);
        assert_eq!((card.index, show_mac(&card.mac).as_str()), (3, "52:54:00:12:34:56"));
        let lo = message(772, 1, &[(IFLA_IFNAME, b"lo\0"), (IFLA_PARENT_DEV_NAME, b"x\0")]);
        assert!(!Interface::decode(&lo).expect("loopback").physical);
        assert_eq!(Interface::decode(&message(ETHERNET, 4, &[])), None, "without a name");
    }

    #[test]
    fn a_later_card_is_taken_only_when_earlier_ones_had_their_time() {
        let card = |index, carrier| Interface {
            name: format!("eth{index}"),
            index,
            mac: [2; 6],
            carrier,
            physical: true,
        };
        let index = |cards: &[Interface], coming: &[u32]| {
            first_with_carrier(cards, |card| coming.contains(&card.index)).map(|card| card.index)
        };
        let second = [card(2, false), card(3, true)];
        assert_eq!(index(&second, &[2, 3]), None, "the first was just switched on");
        assert_eq!(index(&second, &[]), Some(3), "no cable is in the first");
        assert_eq!(index(&[card(2, true), card(3, true)], &[2, 3]), Some(2));
        assert_eq!(index(&[card(2, false), card(3, false)], &[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Interface::decode(&bytes);
        }
    }
}
