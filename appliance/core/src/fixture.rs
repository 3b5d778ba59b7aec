//! A small bundle for the tests of this crate: two keyrings, three clients, roots of two generations.

use casemate_formats::{
    bundle::{
        Bundle,
        body::{
            Audit, Client, Established, Grant, Keyring, Label, Prefix, Roles, RootSection, Service,
            Site,
        },
    },
    digest::Digest,
};
use zeroize::Zeroizing;

use crate::root::{Chain, NONCE_BYTES, Root, fingerprint, wrap};

pub(crate) fn label(text: &str) -> Label {
    Label::parse(text).expect("a name")
}

/// The key of a client: a made-up digest.
pub(crate) fn key(number: u8) -> Digest {
    Digest([number; 32])
}

pub(crate) fn root(byte: u8) -> Root {
    Root::from_random(Zeroizing::new([byte; 32]))
}

/// Generation 1 is 32 bytes of 1, generation 2 of 2.
pub(crate) fn established() -> Established {
    Established {
        generation: 2,
        fingerprint: fingerprint(&root(2), 2, &label("example")),
        commitments: heapless::Vec::new(),
        acks: heapless::Vec::new(),
        authorities: Vec::new(),
        serving: 2,
        wrapped: vec![wrap(&root(1), &root(2), 1, &label("example"), [9; NONCE_BYTES])],
    }
}

pub(crate) fn chain() -> Chain {
    Chain::open(root(2), &established(), &label("example")).expect("opens")
}

fn keyring(name: &str, context: &[&str], first_version: u32, versions: &[u32]) -> Keyring {
    Keyring {
        name: label(name),
        context: context.iter().map(|name| label(name)).collect(),
        subject: None,
        versions: versions.to_vec(),
        first_version,
    }
}

fn client(name: &str, keys: &[u8], roles: Roles, grants: &[(&str, Roles)]) -> Client {
    Client {
        name: label(name),
        keys: keys.iter().map(|number| key(*number)).collect(),
        from: heapless::Vec::new(),
        roles,
        grants: grants
            .iter()
            .map(|(keyring, roles)| Grant { keyring: label(keyring), roles: *roles })
            .collect(),
    }
}

/// Keyrings `card` (no context, version 1) and `pii` (context column and table, versions 3 and 4);
/// clients `auditor` (keys 4, 5), `intake` (key 3: encrypts pii from 10.0.0.0/8), `rails` (keys 1, 2:
/// everything on both).
pub(crate) fn bundle() -> Bundle {
    let both = Roles::ENCRYPT.union(Roles::DECRYPT);
    let none = Roles::default();
    let mut intake = client("intake", &[3], none, &[("pii", Roles::ENCRYPT)]);
    let address = "10.0.0.0".parse().expect("an address");
    intake.from.push(Prefix { address, length: 8 }).expect("room");
    Bundle {
        site: Site {
            namespace: label("example"),
            seq: 7,
            issued: 0,
            acknowledged_logs: Vec::new(),
        },
        images: heapless::Vec::new(),
        hosts: Vec::new(),
        service: Service {
            port: 8443,
            keyrings: vec![
                keyring("card", &[], 1, &[2]),
                keyring("pii", &["column", "table"], 3, &[1, 2]),
            ],
            clients: vec![
                client("auditor", &[4, 5], Roles::AUDIT, &[]),
                intake,
                client("rails", &[1, 2], none, &[("card", both), ("pii", both)]),
            ],
        },
        root: RootSection {
            custodians: heapless::Vec::new(),
            threshold: 1,
            split: 1,
            next: None,
            established: Some(established()),
        },
        audit: Audit { collectors_required: 0, overwrite: true },
        expected: Vec::new(),
    }
}
