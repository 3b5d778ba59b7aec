//! Where a call comes from.

use core::net::IpAddr;

use casemate_formats::bundle::body::Prefix;

/// Whether `address` is within one of the prefixes; without any, every address is.
pub(super) fn admits(from: &[Prefix], address: IpAddr) -> bool {
    from.is_empty() || from.iter().any(|prefix| covers(prefix, address))
}

/// Whether `address` is within `prefix`. IPv4 mapped into IPv6 counts as IPv4.
fn covers(prefix: &Prefix, address: IpAddr) -> bool {
    let differ = match (prefix.address.to_canonical(), address.to_canonical()) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            (prefix.to_bits() ^ address.to_bits()).leading_zeros()
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            (prefix.to_bits() ^ address.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    differ >= u32::from(prefix.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Prefix {
        Prefix { address: address.parse().expect("an address"), length }
    }

    #[test]
    fn a_prefix_covers_its_network_and_nothing_else() {
        for (network, length, address, expected) in [
            ("10.1.2.0", 24, "10.1.2.255", true),
            ("10.1.2.0", 24, "10.1.3.0", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.2", false),
            ("0.0.0.0", 0, "203.0.113.9", true),
            ("0.0.0.0", 0, "2001:db8::1", false),
            ("10.1.2.0", 24, "::ffff:10.1.2.7", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("2001:db8::1", 128, "2001:db8::1", true),
            ("::", 0, "10.0.0.1", false),
            ("10.0.0.0", 33, "10.0.0.0", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(covers(&prefix(network, length), address), expected, "{network}/{length}");
        }
    }

    #[test]
    fn without_prefixes_every_address_is_admitted() {
        let address = "192.0.2.1".parse().expect("an address");
        assert!(admits(&[], address));
        assert!(!admits(&[prefix("10.0.0.0", 8)], address));
        assert!(admits(&[prefix("10.0.0.0", 8), prefix("192.0.2.0", 24)], address));
    }
}
