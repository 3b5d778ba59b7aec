//! For tests: a site with all that a bundle can say, and signers for it.

use std::{fs, net::IpAddr, path::Path};

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256, Sha512};

use crate::{
    anchors::Anchors,
    bundle::{
        Bundle, Envelope,
        body::{
            Audit, Client, Custodian, EkTemplate, Established, Grant, Host, Image, Keyring, Label,
            Network, Next, Prefix, Recipient, Roles, RootSection, Service, Site,
        },
        signature::NAMESPACE,
    },
    digest::{Digest, Name},
    share::split::split,
};

/// Compares with `testdata/<name>`. A golden file is written once, when it does not exist and
/// `CASEMATE_NEW_GOLDEN` is set, and never changed.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if !path.exists() && std::env::var_os("CASEMATE_NEW_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let expected = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(expected == bytes, "{name} is not what this code writes");
}

pub(crate) fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(&[&[0, 0x0b], digest(text).as_ref()].concat()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix { address: ip(address), length }
}

pub(crate) const ROOT: [u8; 32] = [7; 32];

pub(crate) fn custodians() -> heapless::Vec<Custodian, 16> {
    [("alice", 1), ("bob", 2), ("carol", 3)]
        .into_iter()
        .map(|(name, key)| Custodian {
            name: label(name),
            recipient: Recipient::AgeX25519([key; 32]),
        })
        .collect()
}

/// A bundle before there is a root: it asks for genesis.
pub(crate) fn first() -> Bundle {
    let host = |host: &str, address: &str| Host {
        name: label(host),
        ek: name(&format!("ek {host}")),
        ek_template: EkTemplate::P256,
        ak: name(&format!("ak {host}")),
        pcr7: heapless::Vec::from_slice(&[digest("pcr7"), digest("pcr7 later")]).unwrap(),
        boot_applications: heapless::Vec::from_slice(&[digest("shell")]).unwrap(),
        network: Network {
            mac: Some([0x52, 0x54, 0, 1, 2, 3]),
            vlan: Some(12),
            addresses: heapless::Vec::from_slice(&[prefix(address, 24)]).unwrap(),
            gateways: heapless::Vec::from_slice(&[ip("10.0.0.1")]).unwrap(),
        },
        budget_share: Some(500),
        sealed: true,
        retired: false,
    };
    let image = |image: &str| Image {
        pcr11: digest(&format!("pcr11 {image}")),
        esp: digest(&format!("esp {image}")),
        authenticode: digest(&format!("authenticode {image}")),
    };
    let keyring = |keyring: &str| Keyring {
        name: label(keyring),
        context: heapless::Vec::from_slice(&[label("column"), label("user")]).unwrap(),
        subject: Some(label("user")),
        versions: vec![1, 1],
        first_version: 1,
    };
    let client = |client: &str| Client {
        name: label(client),
        keys: heapless::Vec::from_slice(&[digest(client)]).unwrap(),
        from: heapless::Vec::from_slice(&[prefix("10.0.0.0", 24), prefix("fd00::", 64)]).unwrap(),
        roles: Roles::MONITOR,
        grants: vec![Grant { keyring: label("pii"), roles: Roles::ENCRYPT.union(Roles::DECRYPT) }],
    };
    Bundle {
        site: Site {
            namespace: label("example"),
            seq: 1,
            issued: 1_764_000_000,
            acknowledged_logs: vec![(label("alpha"), digest("log"))],
        },
        images: heapless::Vec::from_slice(&[image("1"), image("2")]).unwrap(),
        hosts: vec![host("alpha", "10.0.0.7"), host("beta", "10.0.0.8")],
        service: Service {
            port: 8443,
            keyrings: vec![keyring("mail"), keyring("pii")],
            clients: vec![client("rails"), client("worker")],
        },
        root: RootSection {
            custodians: custodians(),
            threshold: 2,
            split: 1,
            next: None,
            established: None,
        },
        audit: Audit { collectors_required: 1, overwrite: false },
        expected: Vec::new(),
    }
}

/// A bundle with a root of the second generation that asks for a third.
pub(crate) fn full() -> Bundle {
    let mut bundle = first();
    bundle.site.seq = 40;
    bundle.service.keyrings[1].versions = vec![1, 2];
    bundle.root.established = Some(Established {
        generation: 2,
        fingerprint: digest("fingerprint"),
        commitments: heapless::Vec::new(),
        acks: heapless::Vec::new(),
        authorities: vec![vec![0x30, 1], vec![0x30, 2]],
        serving: 1,
        wrapped: vec![vec![9; 72]],
    });
    let shares = split(&ROOT, &bundle.root.established_split().unwrap()).unwrap();
    let established = bundle.root.established.as_mut().unwrap();
    established.commitments = shares.iter().map(crate::share::Share::commitment).collect();
    established.acks = shares.iter().map(crate::share::Share::ack).collect();
    bundle.root.next = Some(Next { root: true, custodians: custodians(), threshold: 3, split: 2 });
    bundle
}

/// Who signs in tests.
pub(crate) enum Key {
    Ed25519(SigningKey),
    P256(p256::ecdsa::SigningKey),
    SkEd25519(SigningKey),
    SkP256(p256::ecdsa::SigningKey),
}

fn string(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
    out.extend_from_slice(part);
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| string(&mut out, part));
    out
}

const APPLICATION: &[u8] = b"ssh:";

impl Key {
    /// One of each kind, by number.
    pub(crate) fn new(number: u8) -> Self {
        let ed25519 = SigningKey::from_bytes(&[number + 1; 32]);
        let p256 = p256::ecdsa::SigningKey::from_slice(&[number + 1; 32]).unwrap();
        match number % 4 {
            0 => Self::Ed25519(ed25519),
            1 => Self::P256(p256),
            2 => Self::SkEd25519(ed25519),
            _ => Self::SkP256(p256),
        }
    }

    fn kind(&self) -> &'static [u8] {
        match self {
            Self::Ed25519(_) => b"ssh-ed25519",
            Self::P256(_) => b"ecdsa-sha2-nistp256",
            Self::SkEd25519(_) => b"sk-ssh-ed25519@openssh.com",
            Self::SkP256(_) => b"sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The public key blob.
    pub(crate) fn public(&self) -> Vec<u8> {
        let point = |key: &p256::ecdsa::SigningKey| key.verifying_key().to_sec1_point(false);
        match self {
            Self::Ed25519(key) => strings(&[self.kind(), key.verifying_key().as_bytes()]),
            Self::P256(key) => strings(&[self.kind(), b"nistp256", point(key).as_bytes()]),
            Self::SkEd25519(key) => {
                strings(&[self.kind(), key.verifying_key().as_bytes(), APPLICATION])
            }
            Self::SkP256(key) => {
                strings(&[self.kind(), b"nistp256", point(key).as_bytes(), APPLICATION])
            }
        }
    }

    /// An SSHSIG blob over `message`, with the FIDO flags given.
    pub(crate) fn sign(&self, namespace: &str, message: &[u8], flags: u8) -> Vec<u8> {
        let hashed = Sha512::digest(message);
        let mut signed = b"SSHSIG".to_vec();
        signed.extend(strings(&[namespace.as_bytes(), b"", b"sha512", &hashed]));
        let fido = [
            Sha256::digest(APPLICATION).as_slice(),
            &[flags],
            &7_u32.to_be_bytes(),
            &Sha256::digest(&signed),
        ]
        .concat();
        let mut signature = strings(&[self.kind()]);
        match self {
            Self::Ed25519(key) => string(&mut signature, &key.sign(&signed).to_bytes()),
            Self::SkEd25519(key) => string(&mut signature, &key.sign(&fido).to_bytes()),
            Self::P256(key) => string(&mut signature, &mpints(&key.sign(&signed))),
            Self::SkP256(key) => string(&mut signature, &mpints(&key.sign(&fido))),
        }
        if matches!(self, Self::SkEd25519(_) | Self::SkP256(_)) {
            signature.push(flags);
            signature.extend_from_slice(&7_u32.to_be_bytes());
        }
        let mut out = b"SSHSIG\0\0\0\x01".to_vec();
        out.extend(strings(&[&self.public(), namespace.as_bytes(), b"", b"sha512", &signature]));
        out
    }
}

fn mpints(signature: &p256::ecdsa::Signature) -> Vec<u8> {
    let (r, s) = signature.split_bytes();
    let mpint = |bytes: &[u8]| {
        let start = bytes.iter().position(|b| *b != 0).unwrap();
        let sign: &[u8] = if bytes[start] >= 0x80 { &[0] } else { &[] };
        [sign, &bytes[start..]].concat()
    };
    strings(&[&mpint(&r), &mpint(&s)])
}

/// Anchors of the example site: one signer of each of the four kinds, two needed.
pub(crate) fn anchors() -> Anchors {
    Anchors {
        namespace: label("example"),
        threshold: 2,
        signers: (0..4).map(|number| Key::new(number).public()).collect(),
        pk: Vec::new(),
        kek: Vec::new(),
        db: Vec::new(),
    }
}

/// An envelope of `body` signed by the keys of these numbers.
pub(crate) fn signed(body: Vec<u8>, signers: &[u8]) -> Envelope {
    let signatures =
        signers.iter().map(|number| Key::new(*number).sign(NAMESPACE, &body, 1)).collect();
    Envelope { body, signatures }
}

/// Reproducible bytes in place of randomness.
pub(crate) struct Counted(pub(crate) u64);

impl rand_core::TryRng for Counted {
    type Error = rand_core::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&Sha256::digest(self.0.to_be_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counted {}
