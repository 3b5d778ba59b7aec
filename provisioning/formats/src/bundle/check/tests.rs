//! What `check` promises, tested.

use super::*;
use crate::bundle::{
    body::{Grant, Image, Next, Recipient},
    example::{digest, first, full, label},
};

/// The refusal of the full example with one thing changed; it is the same through bytes.
fn slug(change: impl FnOnce(&mut Bundle)) -> &'static str {
    let mut bundle = full();
    bundle.check().unwrap();
    change(&mut bundle);
    let error = bundle.check().unwrap_err();
    assert_eq!(Bundle::decode(&bundle.encode()).unwrap_err(), error);
    error.code().slug()
}

fn root_slug(change: impl FnOnce(&mut Established)) -> &'static str {
    slug(|bundle| change(bundle.root.established.as_mut().unwrap()))
}

#[test]
fn tables_out_of_order_are_unsorted() {
    assert_eq!(slug(|b| b.hosts.reverse()), "unsorted");
    assert_eq!(slug(|b| b.service.keyrings.reverse()), "unsorted");
    assert_eq!(slug(|b| b.service.clients.reverse()), "unsorted");
    assert_eq!(slug(|b| b.service.keyrings[0].context.reverse()), "unsorted");
    assert_eq!(slug(|b| b.service.clients[0].from.reverse()), "unsorted");
    assert_eq!(
        slug(|b| {
            let roles = Roles::ENCRYPT;
            b.service.clients[0].grants.push(Grant { keyring: label("mail"), roles });
        }),
        "unsorted"
    );
    assert_eq!(
        slug(|b| b.site.acknowledged_logs.insert(0, (label("beta"), digest("log")))),
        "unsorted"
    );
}

#[test]
fn nothing_stands_there_twice() {
    assert_eq!(slug(|b| b.images[1].pcr11 = b.images[0].pcr11), "duplicate");
    assert_eq!(slug(|b| b.hosts[1].name = b.hosts[0].name.clone()), "duplicate");
    assert_eq!(slug(|b| b.hosts[1].ek = b.hosts[0].ek.clone()), "duplicate");
    assert_eq!(slug(|b| b.hosts[1].ak = b.hosts[0].ak.clone()), "duplicate");
    assert_eq!(slug(|b| b.hosts[0].pcr7[1] = b.hosts[0].pcr7[0]), "duplicate");
    assert_eq!(
        slug(|b| b.service.clients[1].name = b.service.clients[0].name.clone()),
        "duplicate"
    );
    assert_eq!(slug(|b| b.service.clients[1].keys[0] = b.service.clients[0].keys[0]), "duplicate");
    assert_eq!(
        slug(|b| {
            let again = b.service.clients[0].grants[0].clone();
            b.service.clients[0].grants.push(again);
        }),
        "duplicate"
    );
    assert_eq!(slug(|b| b.root.custodians[1].name = label("alice")), "duplicate");
    let again = Recipient::AgeX25519([1; 32]);
    assert_eq!(slug(|b| b.root.custodians[1].recipient = again), "duplicate");
    assert_eq!(
        slug(|b| {
            let again = b.hosts[0].network.gateways[0];
            b.hosts[0].network.gateways.push(again).unwrap();
        }),
        "duplicate"
    );
}

#[test]
fn tables_beyond_the_firmware_are_too_large() {
    let hosts = |count: usize| {
        move |bundle: &mut Bundle| {
            let one = bundle.hosts[0].clone();
            bundle.hosts = (0..count)
                .map(|n| {
                    let name = |what: &str| {
                        let hash = digest(&format!("{what} {n}"));
                        crate::digest::Name::new(&[&[0, 11], hash.as_ref()].concat()).unwrap()
                    };
                    let mut host = one.clone();
                    host.name = label(&format!("h{n:04}"));
                    (host.ek, host.ak) = (name("ek"), name("ak"));
                    host
                })
                .collect();
        }
    };
    let mut most = full();
    hosts(limits::HOSTS)(&mut most);
    most.check().unwrap();
    assert_eq!(slug(hosts(limits::HOSTS + 1)), "table-too-large");
    let clients = |count: usize| {
        move |bundle: &mut Bundle| {
            let one = bundle.service.clients[0].clone();
            bundle.service.clients = (0..count)
                .map(|n| {
                    let mut client = one.clone();
                    client.name = label(&format!("c{n:04}"));
                    client.keys[0] = digest(&format!("client {n}"));
                    client
                })
                .collect();
        }
    };
    let mut most = full();
    clients(limits::CLIENTS)(&mut most);
    most.check().unwrap();
    assert_eq!(slug(clients(limits::CLIENTS + 1)), "table-too-large");
    assert_eq!(
        slug(|b| {
            let one = b.service.keyrings[0].clone();
            b.service.keyrings.extend((0..64).map(|n| {
                let mut keyring = one.clone();
                keyring.name = label(&format!("z{n:04}"));
                keyring
            }));
        }),
        "table-too-large"
    );
    assert_eq!(slug(|b| b.service.keyrings[0].versions = vec![1; 1_001]), "table-too-large");
    assert_eq!(root_slug(|r| r.authorities[0] = vec![0; 1_025]), "table-too-large");
    assert_eq!(root_slug(|r| r.wrapped[0] = vec![0; 257]), "table-too-large");
    assert_eq!(root_slug(|r| r.generation = 33), "table-too-large");
}

#[test]
fn images_times_pcr7_values_fill_at_most_eight_branches() {
    let image = |n: u8| Image {
        pcr11: digest(&n.to_string()),
        esp: digest("esp"),
        authenticode: digest("authenticode"),
    };
    let mut bundle = full();
    bundle.images = (0..4).map(image).collect();
    bundle.check().unwrap();
    // Two PCR 7 values are the most that a host holds, four images the most of a bundle: 4 x 2 = 8.
    assert_eq!(limits::IMAGES * limits::PCR7_PER_HOST, limits::BRANCHES);
}

#[test]
fn roles_without_a_meaning_or_at_the_wrong_place_are_reserved() {
    assert_eq!(slug(|b| b.service.clients[0].roles = Roles(128)), "reserved-role");
    assert_eq!(slug(|b| b.service.clients[0].roles = Roles::ENCRYPT), "reserved-role");
    for roles in [Roles(0), Roles(0x8000), Roles::MONITOR, Roles(1 | 16)] {
        assert_eq!(slug(|b| b.service.clients[0].grants[0].roles = roles), "reserved-role");
    }
}

#[test]
fn names_must_stand_for_something() {
    assert_eq!(slug(|b| b.service.clients[0].grants[0].keyring = label("nothing")), "inconsistent");
    assert_eq!(slug(|b| b.service.keyrings[0].subject = Some(label("nobody"))), "inconsistent");
    assert_eq!(slug(|b| b.service.keyrings[0].versions = vec![1, 3]), "inconsistent");
    assert_eq!(slug(|b| b.service.keyrings[0].versions = vec![0]), "inconsistent");
    let mut before = first();
    before.service.keyrings[0].versions = vec![2];
    assert_eq!(before.check().unwrap_err().code().slug(), "inconsistent");
}

#[test]
fn what_must_not_be_empty_is_not() {
    assert_eq!(slug(|b| b.images.clear()), "inconsistent");
    assert_eq!(slug(|b| b.hosts[0].pcr7.clear()), "inconsistent");
    assert_eq!(slug(|b| b.service.clients[0].keys.clear()), "inconsistent");
    assert_eq!(slug(|b| b.service.keyrings[0].versions.clear()), "inconsistent");
    assert_eq!(root_slug(|r| r.authorities[0].clear()), "inconsistent");
}

#[test]
fn numbers_and_addresses_stay_in_range() {
    assert_eq!(slug(|b| b.site.seq = 0), "out-of-range");
    assert_eq!(slug(|b| b.service.port = 0), "out-of-range");
    assert_eq!(slug(|b| b.hosts[0].budget_share = Some(0)), "out-of-range");
    assert_eq!(slug(|b| b.hosts[0].budget_share = Some(1_001)), "out-of-range");
    assert_eq!(slug(|b| b.hosts[0].network.vlan = Some(4_095)), "out-of-range");
    assert_eq!(slug(|b| b.hosts[0].network.addresses[0].length = 33), "out-of-range");
    for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1"] {
        let address = address.parse().unwrap();
        assert_eq!(slug(|b| b.hosts[0].network.addresses[0].address = address), "out-of-range");
        assert_eq!(slug(|b| b.hosts[0].network.gateways[0] = address), "out-of-range");
    }
    let host_bits = "10.0.0.1".parse().unwrap();
    assert_eq!(slug(|b| b.service.clients[0].from[0].address = host_bits), "out-of-range");
    assert_eq!(slug(|b| b.service.keyrings[0].first_version = 0), "out-of-range");
    assert_eq!(slug(|b| b.service.keyrings[0].first_version = u32::MAX), "out-of-range");
    assert_eq!(slug(|b| b.audit.collectors_required = 9), "out-of-range");
}

/// The refusal of a host's network section in the full example.
fn network_slug(mac: Option<&str>, addresses: &[&str], gateways: &[&str]) -> &'static str {
    slug(|bundle| {
        let network = &mut bundle.hosts[0].network;
        network.mac = mac.map(|text| {
            let bytes: Vec<u8> =
                text.split(':').map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            bytes.try_into().unwrap()
        });
        network.addresses = addresses
            .iter()
            .map(|text| {
                let (address, length) = text.split_once('/').unwrap();
                Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
            })
            .collect();
        network.gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
    })
}

#[test]
fn a_network_section_that_contradicts_itself_is_refused() {
    let four = "10.0.0.7/24";
    let six = "fd00::7/64";
    // No lease and no route, or a route to nowhere.
    assert_eq!(network_slug(None, &[], &["10.0.0.1"]), "inconsistent");
    assert_eq!(network_slug(None, &[four], &["10.0.1.1"]), "inconsistent");
    assert_eq!(network_slug(None, &[four, six], &["10.0.0.1", "fd01::1"]), "inconsistent");
    assert_eq!(network_slug(None, &[six], &["10.0.0.1"]), "inconsistent");
    assert_eq!(network_slug(None, &[four], &["fe80::1"]), "inconsistent");
    assert_eq!(network_slug(None, &[four], &["10.0.0.7"]), "inconsistent");
    assert_eq!(network_slug(None, &[four], &["10.0.0.1", "10.0.0.2"]), "duplicate");
    assert_eq!(network_slug(None, &[four, "10.0.0.7/16"], &[]), "duplicate");
    // No host's address.
    for address in [
        "10.0.0.0/24",
        "10.0.0.255/24",
        "10.0.0.7/0",
        "0.1.2.3/24",
        "240.0.0.1/24",
        "fd00::/64",
        "fd00::7/0",
        "::ffff:10.0.0.7/120",
    ] {
        assert_eq!(network_slug(None, &[address], &[]), "out-of-range", "{address}");
    }
    for mac in ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"] {
        assert_eq!(network_slug(Some(mac), &[four], &[]), "out-of-range", "{mac}");
    }
}

#[test]
fn networks_that_machines_have_are_taken() {
    let taken = |addresses: &[&str], gateways: &[&str]| {
        let mut bundle = full();
        let network = &mut bundle.hosts[0].network;
        network.gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
        network.addresses = addresses
            .iter()
            .map(|text| {
                let (address, length) = text.split_once('/').unwrap();
                Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
            })
            .collect();
        bundle.check().unwrap();
    };
    taken(&[], &[]);
    taken(&["10.0.0.7/32"], &[]);
    taken(&["10.0.0.6/31"], &["10.0.0.7"]);
    taken(&["fd00::7/64"], &["fd00::1"]);
    taken(&["fd00::7/128"], &["fe80::1"]);
    taken(&["fd00::/127"], &["fd00::1"]);
    taken(&["10.0.0.7/24", "10.0.0.8/24", "fd00::7/64"], &["10.0.0.1", "fe80::1"]);
}

#[test]
fn the_root_section_agrees_with_itself() {
    for threshold in [0, 4] {
        assert_eq!(slug(|b| b.root.threshold = threshold), "inconsistent");
    }
    assert_eq!(slug(|b| b.root.split = 0), "inconsistent");
    assert_eq!(slug(|b| b.root.next.as_mut().unwrap().split = 1), "inconsistent");
    assert_eq!(slug(|b| b.root.next.as_mut().unwrap().threshold = 4), "inconsistent");
    assert_eq!(slug(|b| b.root.next.as_mut().unwrap().custodians.clear()), "inconsistent");
    assert_eq!(slug(|b| b.root.custodians.truncate(2)), "inconsistent");
    assert_eq!(root_slug(|r| r.generation = 0), "inconsistent");
    assert_eq!(root_slug(|r| r.commitments.truncate(2)), "inconsistent");
    assert_eq!(root_slug(|r| r.acks.truncate(2)), "missing-ack");
    assert_eq!(root_slug(|r| r.acks.swap(0, 1)), "wrong-ack");
    assert_eq!(root_slug(|r| r.acks[0] = digest("made up")), "wrong-ack");
    assert_eq!(root_slug(|r| r.authorities.truncate(1)), "inconsistent");
    assert_eq!(root_slug(|r| r.wrapped.clear()), "inconsistent");
    for serving in [0, 3] {
        assert_eq!(root_slug(|r| r.serving = serving), "inconsistent");
    }
}

#[test]
fn a_next_root_needs_one_that_it_follows() {
    let mut bundle = first();
    let custodians = bundle.root.custodians.clone();
    bundle.root.next = Some(Next { root: true, custodians, threshold: 1, split: 2 });
    assert_eq!(bundle.check().unwrap_err().code().slug(), "inconsistent");
}

#[test]
fn genesis_is_asked_for_by_what_is_missing() {
    let first = first();
    let asked = first.root.asked().unwrap();
    assert_eq!((asked.generation, asked.fresh, asked.threshold), (1, true, 2));
    let mut bundle = full();
    let asked = bundle.root.asked().unwrap();
    assert_eq!((asked.generation, asked.fresh, asked.threshold, asked.split), (3, true, 3, 2));
    bundle.root.next.as_mut().unwrap().root = false;
    let asked = bundle.root.asked().unwrap();
    assert_eq!((asked.generation, asked.fresh), (2, false));
    bundle.root.next = None;
    assert_eq!(bundle.root.asked(), None);
}
