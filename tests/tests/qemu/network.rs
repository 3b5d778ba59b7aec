//! How a box is reached: static addresses of both families in a VLAN of a card that is chosen by its
//! hardware address, IPv6 alone, leases that are renewed, rebound and lost, former addresses that stay
//! until a client came over the new ones, and a first address from a bundle that was flashed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_formats::bundle::body::{Bundle, Expected, Network, Prefix};
use casemate_qemu::{
    machine::{Hardware, Machine},
    tools::{self, Tools},
};
use casemate_tests::{
    client::{Client, Trust},
    machine::{BOOT, Box},
    remote::Remote,
    site::{HOST, label},
    wire::{Dhcp, Wire, announced},
};
use serde_json::json;

use crate::fixture::{PLAINTEXT, copy, fixture, fresh};

/// The second card's hardware address.
const CARD: [u8; 6] = [0x52, 0x54, 0, 0xca, 0x5e, 0x02];
/// QEMU's own for a first card.
const FIRST_CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// What a machine under TCG beside other work may need to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what must not answer is asked: a machine that was just seen to answer does so sooner.
const SHORT: Duration = Duration::from_secs(3);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(mac: Option<[u8; 6]>, vlan: Option<u16>, addresses: &[&str], via: &[&str]) -> Network {
    let prefix = |text: &&str| {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: ip(address), length: length.parse().unwrap() }
    };
    Network {
        mac,
        vlan,
        addresses: addresses.iter().map(prefix).collect(),
        gateways: via.iter().map(|text| ip(text)).collect(),
    }
}

/// A copy of the fixture's machine with a second network card.
fn with_second_card(name: &str) -> Box {
    copy(name, Hardware { second_card: Some(CARD), ..Hardware::default() })
}

/// The next bundle, with other settings for the box.
fn change(machine: &mut Box, change: impl FnOnce(&mut Bundle)) {
    let mut bundle = machine.remote.bundle.clone().unwrap();
    bundle.site.seq += 1;
    change(&mut bundle);
    machine.remote.accept(bundle).expect("the box takes it");
}

/// A loopback port that leads to this address and port of the machine's first network.
fn forward(machine: &Machine, to: &str, port: u16) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let here = listener.local_addr().unwrap();
    drop(listener);
    let line = format!("hostfwd_add n tcp:127.0.0.1:{}-{to}:{port}", here.port());
    let mut monitor = machine.monitor().unwrap();
    let said = monitor.run("human-monitor-command", &json!({ "command-line": line })).unwrap();
    assert_eq!(said, "", "{line}");
    here
}

/// Whether the box answers there, asked by nobody in particular or by a listed client.
fn answers(remote: &Remote, at: SocketAddr, listed: bool) -> bool {
    let identity = listed.then(|| remote.site.client("web"));
    let client = Client::new(at, &remote.trust(), identity).unwrap();
    let client = client.with_patience(Duration::from_secs(3));
    let path = if listed { "/v1/keyrings" } else { "/livez" };
    client.get(path).is_ok_and(|answer| answer.status == 200)
}

fn becomes(what: &str, machine: &Machine, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}; console:\n{}", machine.serial.text());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn static_addresses_of_both_families_in_a_vlan_of_a_card_chosen_by_its_hardware_address() {
    let mut machine = with_second_card("vlan");
    let ours = ["10.7.0.1", "fd07::1"].map(ip);
    let wire = Wire::plug(&machine.machine.path(""), Some(7), &ours).unwrap();
    machine.power_cycle().unwrap();
    let addresses = ["10.7.0.7/24", "10.7.0.8/24", "fd07::7/64"];
    change(&mut machine, |bundle| {
        let gateways = ["10.7.0.1", "fd07::1"];
        bundle.hosts[0].network = network(Some(CARD), Some(7), &addresses, &gateways);
    });
    let open = |us: &str, host: &str| wire.is_open(ip(us), ip(host), 8443, PATIENCE);
    let all_open = || {
        // From a neighbour, and from beyond the gateways.
        let near = [("10.7.0.1", "10.7.0.7"), ("10.7.0.1", "10.7.0.8"), ("fd07::1", "fd07::7")];
        let far =
            [("192.0.2.1", "10.7.0.7"), ("192.0.2.1", "10.7.0.8"), ("2001:db8::1", "fd07::7")];
        [near, far].concat().into_iter().filter(|(us, host)| !open(us, host)).collect::<Vec<_>>()
    };
    assert_eq!(all_open(), [], "{}", machine.machine.serial.text());
    let closed = |host: &str, port| {
        let us = ours[usize::from(host.contains(':'))];
        !wire.is_open(us, ip(host), port, SHORT)
    };
    assert!(closed("10.7.0.7", 8444), "one port alone");
    assert!(closed("10.7.0.9", 8443), "no address but the listed ones");
    wire.tag(None);
    assert!(closed("10.7.0.7", 8443) && closed("fd07::7", 8443), "in the VLAN alone");
    // A router that nobody listed brings neither an address nor a way out.
    for tag in [None, Some(7)] {
        wire.tag(tag);
        let prefix = "fd99::".parse().unwrap();
        wire.announce(prefix);
        assert!(closed(&announced(prefix, CARD).to_string(), 8443), "announced on {tag:?}");
    }
    // Nobody has come over them: the former address answers, also after a power cut.
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
    machine.power_cycle().unwrap();
    assert_eq!(all_open(), [], "{}", machine.machine.serial.text());
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
}

#[test]
fn a_box_with_ipv6_alone_answers_its_neighbours_and_beyond_its_gateway() {
    let mut machine = with_second_card("ipv6");
    let wire = Wire::plug(&machine.machine.path(""), None, &[ip("fe80::1")]).unwrap();
    machine.power_cycle().unwrap();
    let settings = network(Some(CARD), None, &["fd08::8/64"], &["fe80::1"]);
    change(&mut machine, |bundle| bundle.hosts[0].network = settings);
    for us in ["fe80::1", "2001:db8::1"] {
        let open = wire.is_open(ip(us), ip("fd08::8"), 8443, PATIENCE);
        assert!(open, "from {us}; console:\n{}", machine.machine.serial.text());
    }
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
}

#[test]
fn former_address_and_port_stay_until_a_client_came_over_the_new_ones() {
    let mut machine = copy("overlap", Hardware::default());
    machine.power_cycle().unwrap();
    let former = machine.remote.address;
    // A typing error: nobody can reach that network.
    change(&mut machine, |bundle| {
        bundle.hosts[0].network = network(None, None, &["10.99.2.20/24"], &["10.99.2.2"]);
    });
    machine.machine.serial.wait("casemate: address 10.99.2.20/24", BOOT).unwrap();
    becomes("the former address answers", &machine.machine, || {
        answers(&machine.remote, former, true)
    });
    machine.power_cycle().expect("the former address answers after a reboot");
    // Corrected, and another port with it: two addresses and two ports.
    change(&mut machine, |bundle| {
        bundle.hosts[0].network = network(None, None, &["10.0.2.20/24"], &["10.0.2.2"]);
        bundle.service.port = 9443;
    });
    machine.machine.serial.wait("casemate: address 10.99.2.20/24 is given up", BOOT).unwrap();
    let new = forward(&machine.machine, "10.0.2.20", 9443);
    becomes("the new one answers", &machine.machine, || answers(&machine.remote, new, false));
    assert!(answers(&machine.remote, former, true), "and the former one with it");
    assert!(answers(&machine.remote, new, true), "a listed client comes over it");
    machine.machine.serial.wait("casemate: address 10.0.2.15/24 is given up", BOOT).unwrap();
    becomes("the former one goes", &machine.machine, || !answers(&machine.remote, former, false));
    assert!(answers(&machine.remote, new, true), "the new one stays when its network's first goes");
    // That is remembered.
    machine.machine.cut();
    machine.machine.start().unwrap();
    machine.machine.serial.wait("casemate: ready", BOOT).unwrap();
    let new = forward(&machine.machine, "10.0.2.20", 9443);
    becomes("it answers after a reboot", &machine.machine, || answers(&machine.remote, new, true));
    assert!(!machine.machine.serial.text().contains("10.0.2.15"));
}

#[test]
fn a_lease_is_renewed_by_its_server_rebound_by_any_and_given_up_at_its_end() {
    let mut machine = with_second_card("lease");
    let dhcp = |last: u8, gives: u8| Dhcp {
        server: Ipv4Addr::new(10, 8, 0, last),
        gives: Ipv4Addr::new(10, 8, 0, gives),
        times: [10, 25, 40],
        refuses: false,
    };
    let ours = ["10.8.0.1", "10.8.0.2"].map(ip);
    let wire = Wire::plug(&machine.machine.path(""), None, &ours).unwrap();
    wire.serve(Some(dhcp(1, 9)));
    machine.power_cycle().unwrap();
    change(&mut machine, |bundle| bundle.hosts[0].network = network(Some(CARD), None, &[], &[]));
    let open = |last: u8, patience| {
        wire.is_open(ours[0], Ipv4Addr::new(10, 8, 0, last).into(), 8443, patience)
    };
    let console = &mut machine.machine.serial;
    console.wait("casemate: address 10.8.0.9/24 on eth1", BOOT).unwrap();
    // Its server alone is asked, and renews; then it does not, and any server is asked.
    assert!(!wire.renewal(PATIENCE).unwrap().broadcast);
    wire.serve(None);
    assert!(!wire.renewal(PATIENCE).unwrap().broadcast);
    console
        .wait("casemate: network eth1: 10.8.0.1 does not renew 10.8.0.9, which ends", BOOT)
        .unwrap();
    assert!(open(9, PATIENCE), "it lasts");
    assert!(wire.renewal(PATIENCE).unwrap().broadcast);
    let lost = "casemate: network eth1: lease of 10.8.0.9 ended: no DHCP server renewed it";
    console.wait(lost, BOOT).unwrap();
    console.wait("casemate: address 10.8.0.9/24 is given up", BOOT).unwrap();
    assert!(!open(9, SHORT), "and not longer");
    // Another server is there; it falls silent, and the first one steps in.
    wire.serve(Some(dhcp(2, 9)));
    console.wait("casemate: address 10.8.0.9/24 on eth1", BOOT).unwrap();
    assert!(open(9, PATIENCE));
    wire.serve(Some(dhcp(1, 9)));
    assert!(!wire.renewal(PATIENCE).unwrap().broadcast, "the second one, which is gone");
    console.wait("casemate: network eth1: 10.8.0.2 does not renew 10.8.0.9", BOOT).unwrap();
    console.wait("casemate: network eth1: lease of 10.8.0.9 renewed by 10.8.0.1", BOOT).unwrap();
    assert!(open(9, PATIENCE));
    assert_eq!(console.text().matches("10.8.0.9/24 is given up").count(), 1, "it was kept");
    // The address was given to somebody else.
    wire.serve(Some(Dhcp { refuses: true, ..dhcp(1, 10) }));
    let refused = "casemate: network eth1: lease of 10.8.0.9 ended: the DHCP server refused it";
    console.wait(refused, BOOT).unwrap();
    console.wait("casemate: address 10.8.0.9/24 is given up", BOOT).unwrap();
    console.wait("casemate: address 10.8.0.10/24 on eth1", BOOT).unwrap();
    assert!(open(10, PATIENCE) && !open(9, SHORT));
    // All the while the former address had its own lease.
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
}

#[test]
fn a_box_without_dhcp_gets_its_first_address_from_a_flashed_bundle() {
    let folder = fresh("flashed");
    fs::create_dir_all(&folder).unwrap();
    let (site, built) = (Arc::clone(&fixture().machine.remote.site), &fixture().built);
    let image = built.manifest.image().unwrap();
    let own = network(Some(FIRST_CARD), None, &["10.0.2.77/24"], &["10.0.2.2"]);
    let mut bundle = site.bundle(1, Vec::new());
    bundle.images = [image.clone()].into_iter().collect();
    bundle.expected = vec![Expected { name: label(HOST), network: own.clone() }];
    let envelope = folder.join("first.bundle");
    fs::write(&envelope, site.sign(&bundle).unwrap()).unwrap();
    let disk = folder.join("flashed.img");
    let mut flash = Tools::find().unwrap().image();
    flash.arg("flash").arg("--dir").arg(&built.folder).arg("--to").arg(&disk);
    let said = tools::output(flash.arg("--bundle").arg(&envelope)).unwrap();
    assert!(said.contains("box1: 10.0.2.77/24, port 8443"), "{said}");

    let mut machine = Machine::create(&folder, &disk, Hardware::default()).unwrap();
    machine.start().unwrap();
    machine.serial.wait("casemate: enrolled PK", BOOT).unwrap();
    let line = machine.serial.wait("casemate: ek ", BOOT).unwrap();
    let ek = line.split("casemate: ek ").nth(1).unwrap().trim().to_owned();
    machine.serial.wait("casemate: phase locked (not-listed)", BOOT).unwrap();
    machine.serial.wait("casemate: ready", BOOT).unwrap();
    let console = machine.serial.text();
    assert!(console.contains("address 10.0.2.77/24") && !console.contains("DHCP"), "{console}");
    let address = forward(&machine, "10.0.2.77", 8443);
    let site_of = Arc::clone(&site);
    let mut remote = Remote { site: site_of, name: HOST, address, image, ek, bundle: None };
    // Attested, listed under the address that it has, Operational.
    let mut host = remote.record().unwrap();
    host.network = own;
    let mut listed = site.bundle(2, vec![host]);
    listed.images = bundle.images.clone();
    remote.accept(listed).unwrap();
    machine.serial.wait("casemate: phase locked (no-root)", BOOT).unwrap();
    remote.establish().unwrap();
    machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    assert!(answers(&remote, address, true));
    assert!(Client::new(address, &Trust::Anyone, None).unwrap().get("/readyz").is_ok());
}
