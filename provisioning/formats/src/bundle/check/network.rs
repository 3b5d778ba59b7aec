//! Where a host is reached: what the kernel would refuse and what would reach nobody is no network
//! section, before anybody signs it and before a box takes it. (One address for two boxes is the site's
//! mistake and not this box's: `source` finds it before anybody signs.)

use core::net::IpAddr;

use super::{distinct, holds, network_of, prefix_length};
use crate::bundle::{
    body::{Network, Prefix},
    error::BodyError,
};

/// Checks the section of one host.
///
/// # Errors
/// The first rule that does not hold.
pub fn network(network: &Network) -> Result<(), BodyError> {
    // IEEE 802: the lowest bit of the first byte is a group's.
    let of_a_card = |mac: [u8; 6]| mac != [0; 6] && mac[0] & 1 == 0;
    holds(network.mac.is_none_or(of_a_card), "a hardware address of one network card")?;
    holds(network.vlan.is_none_or(|id| (1..=4094).contains(&id)), "a VLAN id of 1 to 4094")?;
    distinct("addresses of a host", network.addresses.iter().map(|prefix| prefix.address))?;
    for prefix in &network.addresses {
        prefix_length(prefix)?;
        holds(prefix.length > 0, "a prefix length of at least 1 for an address")?;
        unicast(prefix.address)?;
        holds(
            is_a_hosts(prefix),
            "a host's own address, not its network's or the broadcast address",
        )?;
    }
    for gateway in &network.gateways {
        unicast(*gateway)?;
    }
    distinct("address families of gateways", network.gateways.iter().map(IpAddr::is_ipv4))?;
    let named = !network.addresses.is_empty() || network.gateways.is_empty();
    agrees(named, "an address beside a gateway (without one the host asks DHCP)")?;
    for gateway in &network.gateways {
        let own = network.addresses.iter().any(|prefix| prefix.address == *gateway);
        agrees(!own, "a gateway that is another machine")?;
        let reachable = is_reachable(*gateway, &network.addresses);
        agrees(reachable, "a gateway in a network of the host's addresses")?;
    }
    Ok(())
}

fn agrees(condition: bool, rule: &'static str) -> Result<(), BodyError> {
    if condition { Ok(()) } else { Err(BodyError::Contradiction(rule)) }
}

fn unicast(address: IpAddr) -> Result<(), BodyError> {
    let unusable = match address {
        // RFC 1122, 3.2.1.3: this network. RFC 1112, section 4: class E, and the broadcast address.
        IpAddr::V4(four) => four.octets()[0] == 0 || four.octets()[0] >= 240,
        // RFC 4291, 2.5.5.2: IPv4 written as IPv6.
        IpAddr::V6(six) => six.is_unspecified() || six.to_ipv4_mapped().is_some(),
    };
    let other = address.is_loopback() || address.is_multicast();
    holds(!unusable && !other, "a unicast address that others can reach")
}

/// Whether an address is neither its network's (in IPv6 that of all routers, RFC 4291, 2.6.1) nor its
/// broadcast address. A network of one or two addresses has neither (RFC 3021, RFC 6164).
fn is_a_hosts(prefix: &Prefix) -> bool {
    match prefix.address {
        IpAddr::V4(_) if prefix.length >= 31 => true,
        IpAddr::V6(_) if prefix.length >= 127 => true,
        IpAddr::V4(four) => {
            let broadcast = four.to_bits() | (u32::MAX >> prefix.length);
            network_of(prefix) != prefix.address && four.to_bits() != broadcast
        }
        IpAddr::V6(_) => network_of(prefix) != prefix.address,
    }
}

/// Whether a gateway can be asked at all: it lies in a network of the host, or is link-local beside an
/// address of its family.
fn is_reachable(gateway: IpAddr, addresses: &[Prefix]) -> bool {
    let link_local = matches!(gateway, IpAddr::V6(six) if six.is_unicast_link_local());
    addresses.iter().filter(|prefix| prefix.address.is_ipv4() == gateway.is_ipv4()).any(|prefix| {
        link_local || network_of(&Prefix { address: gateway, ..*prefix }) == network_of(prefix)
    })
}
