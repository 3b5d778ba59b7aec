//! A changed port: the former one stays until a listed client came over the new one, also across
//! reboots and several changes. (Addresses follow the same rule; QEMU shows them.) And a network section
//! that no machine could carry out.

#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use casemate_formats::bundle::body::{Network, Prefix};
use casemate_tests::{
    client::{Client, Trust},
    host::{Host, Options},
};

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A client of this name at another port; nobody where there is no name.
fn client(host: &Host, port: u16, name: Option<&str>) -> Client {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Client::new(address, &Trust::Anyone, name.map(|name| host.site.client(name))).unwrap()
}

/// Whether the box answers there; a stranger's question, which proves nothing.
fn answers(host: &Host, port: u16) -> bool {
    client(host, port, None).get("/livez").is_ok_and(|answer| answer.status == 200)
}

/// Waits until it is so.
fn becomes(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn change_port(host: &mut Host, port: u16) {
    let mut bundle = host.bundle.clone().unwrap();
    bundle.site.seq += 1;
    bundle.service.port = port;
    host.accept(bundle).unwrap();
}

/// Off and on: what the box is told to listen on is its bundle's port.
fn reboot_on(host: &mut Host, port: u16) {
    host.power_off().unwrap();
    host.address.set_port(port);
    host.reboot().unwrap();
}

#[test]
fn a_changed_port_is_one_of_two_until_a_client_came_over_it_also_after_reboots() {
    let ports = [free_port(), free_port(), free_port()];
    let mut host = Host::with(Options {
        change: Some(Box::new(move |bundle| bundle.service.port = ports[0])),
        ..Options::default()
    })
    .unwrap();
    let first = host.address.port();
    assert!(answers(&host, first), "everything so far came over the port of before the bundle");
    becomes("the bundle's port opens", || answers(&host, ports[0]));

    // The listed client's first call over the bundle's port.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
    host.address = address;
    assert_eq!(client(&host, ports[0], Some("web")).get("/v1/keyrings").unwrap().status, 200);
    becomes("the first port closes", || !answers(&host, first));

    // Unproven, then switched off: the next boot answers under both.
    change_port(&mut host, ports[1]);
    becomes("the second port opens", || answers(&host, ports[1]));
    reboot_on(&mut host, ports[1]);
    becomes("the former port is there after a reboot", || answers(&host, ports[0]));
    assert!(answers(&host, ports[1]));
    assert_eq!(client(&host, ports[0], Some("web")).get("/v1/keyrings").unwrap().status, 200);
    assert!(answers(&host, ports[0]), "a client over the former port proves nothing");

    // A second change while the first is unproven: the proven one stays, the other goes.
    change_port(&mut host, ports[2]);
    becomes("the third port opens", || answers(&host, ports[2]));
    becomes("the second port closes", || !answers(&host, ports[1]));
    assert!(answers(&host, ports[0]));

    // Proven: one port, and that is remembered.
    assert_eq!(client(&host, ports[2], Some("web")).get("/v1/keyrings").unwrap().status, 200);
    becomes("the former port closes", || !answers(&host, ports[0]));
    reboot_on(&mut host, ports[2]);
    assert!(answers(&host, ports[2]));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!answers(&host, ports[0]) && !answers(&host, ports[1]));
}

#[test]
fn a_network_section_that_no_machine_could_carry_out_is_refused_and_what_is_in_force_stays() {
    let mut host = Host::start().unwrap();
    let before = host.bundle.clone().unwrap();
    let mut bundle = before.clone();
    bundle.site.seq += 1;
    for (addresses, gateways, code) in [
        (&["10.8.0.8/24"][..], &["10.9.0.1"][..], "inconsistent"),
        (&["fd08::8/64"], &["10.8.0.1"], "inconsistent"),
        (&["10.8.0.8/24"], &["fe80::1"], "inconsistent"),
        (&["10.8.0.8/24"], &["10.8.0.8"], "inconsistent"),
        (&[], &["10.8.0.1"], "inconsistent"),
        (&["10.8.0.8/24"], &["10.8.0.1", "10.8.0.2"], "duplicate"),
        (&["10.8.0.8/24", "10.8.0.8/16"], &[], "duplicate"),
        (&["10.8.0.0/24"], &[], "out-of-range"),
        (&["10.8.0.255/24"], &[], "out-of-range"),
        (&["127.0.0.1/8"], &[], "out-of-range"),
        (&["10.8.0.8/33"], &[], "out-of-range"),
    ] {
        let prefix = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
        };
        bundle.hosts[0].network = Network {
            mac: None,
            vlan: None,
            addresses: addresses.iter().map(prefix).collect(),
            gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let envelope = host.site.sign(&bundle).unwrap();
        let headers = [("Content-Type", "application/octet-stream")];
        let mut connection = host.nobody().unwrap().connect().unwrap();
        let answer = connection.send("POST", "/v1/bundle", &headers, Some(&envelope)).unwrap();
        assert_eq!(answer.code().unwrap(), code, "{addresses:?} {gateways:?}");
    }
    // Nothing of it came into force: the same number is still free.
    bundle.hosts[0].network = before.hosts[0].network.clone();
    host.accept(bundle).unwrap();
}
