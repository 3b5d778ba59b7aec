//! A box whose TPM is a P-256 key in software: quotes what it is told to, so that every kind of lie
//! can be told.

use casemate_formats::{
    anchors::Anchors,
    bundle::body::{EkTemplate, Host, Image, Label, Network},
    digest::{Digest, Name},
    efi::variable::{OWNER, list},
    genesis, measure,
    request::{Claims, Request},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

use crate::firmware_log::FirmwareLog;

pub const SECTIONS: [(&str, &[u8]); 3] =
    [(".linux", b"kernel"), (".osrel", b"ID=casemate"), (".initrd", b"init and anchors")];
pub const NONCE: [u8; 32] = [7; 32];
pub const SELECTION: &[u8] = &[0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0];
const EK: &[u8] = include_bytes!("../../testdata/request/ek-p384.tpmt");

pub fn authenticode() -> Digest {
    Digest::sha256(b"the signed image")
}

pub fn image() -> Image {
    FirmwareLog::image(&SECTIONS, authenticode(), Digest::sha256(b"the ESP"))
}

/// Anchors whose variables hold one certificate each.
pub fn anchors() -> Anchors {
    Anchors {
        namespace: Label::parse("site").unwrap(),
        threshold: 1,
        signers: [vec![1]].into_iter().collect(),
        pk: update(&[b"PK certificate"]),
        kek: update(&[b"KEK certificate"]),
        db: update(&[b"db certificate"]),
    }
}

/// A variable update in the right form (nobody checks its signature here).
pub fn update(certificates: &[&[u8]]) -> Vec<u8> {
    const PKCS7: [u8; 16] = [
        0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65,
        0xa7,
    ];
    let mut out = vec![0; 16];
    out.extend_from_slice(&27_u32.to_le_bytes());
    out.extend_from_slice(&[0x00, 0x02, 0xf1, 0x0e]);
    out.extend_from_slice(&PKCS7);
    out.extend_from_slice(b"sig");
    out.extend_from_slice(&list(&OWNER, certificates));
    out
}

/// What a box is and says; tests change it before it speaks.
#[derive(Clone)]
pub struct SoftBox {
    key: SigningKey,
    pub attributes: u32,
    pub selection: Vec<u8>,
    pub log: FirmwareLog,
    /// PCRs as they are; follow the log unless a test sets them.
    pub pcrs: [Digest; 16],
    pub claims: Claims,
}

impl SoftBox {
    pub fn new(log: FirmwareLog) -> Self {
        let mut pcrs = log.pcrs();
        let entered = measure::phase(pcrs[11], measure::ENTER);
        pcrs[11] = measure::phase(entered, measure::LEAVE);
        let claims = Claims {
            phase: "unprovisioned".into(),
            bundle: Digest::ZERO,
            image: entered,
            log_id: Digest::ZERO,
            checkpoint_key: Digest::ZERO,
            hpke_key: Digest([1; 32]),
            tls_key: Digest([2; 32]),
            order_challenge: Digest([3; 32]),
        };
        Self {
            key: SigningKey::from_slice(&[0x11; 32]).unwrap(),
            attributes: 0x0005_0472,
            selection: SELECTION.to_vec(),
            log,
            pcrs,
            claims,
        }
    }

    pub fn healthy() -> Self {
        Self::new(FirmwareLog::boot(&anchors(), &SECTIONS, authenticode()))
    }

    pub fn ak_public(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let attributes = self.attributes.to_be_bytes();
        [
            &[0x00, 0x23, 0x00, 0x0b][..],
            &attributes,
            &[0, 0, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10],
            &[0, 32],
            x,
            &[0, 32],
            y,
        ]
        .concat()
    }

    pub fn ak(&self) -> Name {
        let digest = Digest::sha256(&self.ak_public());
        Name::new(&[&[0, 0x0b][..], &digest.0].concat()).unwrap()
    }

    /// TPMS_ATTEST and TPMT_SIGNATURE.
    pub fn quote(&self, extra_data: &Digest) -> (Vec<u8>, Vec<u8>) {
        let qualified = Digest::sha256(&[&[0x40, 0, 0, 0x0b][..], self.ak().as_bytes()].concat());
        let values: Vec<u8> = self.pcrs.iter().flat_map(|pcr| pcr.0).collect();
        let attest = [
            &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0x00, 0x0b][..],
            &qualified.0,
            &[0, 32],
            &extra_data.0,
            &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 1],
            &[0; 8],
            &self.selection,
            &[0, 32],
            &Digest::sha256(&values).0,
        ]
        .concat();
        (attest.clone(), self.sign(&attest))
    }

    pub fn sign(&self, attest: &[u8]) -> Vec<u8> {
        let signature: Signature = self.key.sign(attest);
        let (r, s) = signature.split_bytes();
        [&[0, 0x18, 0, 0x0b, 0, 32][..], &r, &[0, 32], &s].concat()
    }

    pub fn request(&self) -> Request {
        let (attest, signature) = self.quote(&self.claims.extra_data(&NONCE));
        Request {
            nonce: NONCE,
            claims: self.claims.clone(),
            ek_certificate: None,
            ek_public: EK.to_vec(),
            ak_public: self.ak_public(),
            attest,
            signature,
            pcrs: self.pcrs.to_vec(),
            event_log: self.log.encode(),
            credential_answer: None,
        }
    }

    /// Quotes a genesis answer as it stands.
    pub fn answer(&self, mut answer: genesis::Answer) -> genesis::Answer {
        answer.ak_public = self.ak_public();
        answer.pcrs = self.pcrs.to_vec();
        (answer.attest, answer.signature) = self.quote(&answer.extra_data());
        answer
    }

    /// The record that pins this box as it is now.
    pub fn host(&self) -> Host {
        let digest = [&[0, 0x0c][..], &<sha2::Sha384 as sha2::Digest>::digest(EK)].concat();
        Host {
            name: Label::parse("alpha").unwrap(),
            ek: Name::new(&digest).unwrap(),
            ek_template: EkTemplate::P384,
            ak: self.ak(),
            pcr7: [self.pcrs[7]].into_iter().collect(),
            boot_applications: [].into_iter().collect(),
            network: Network {
                mac: None,
                vlan: None,
                addresses: [].into_iter().collect(),
                gateways: [].into_iter().collect(),
            },
            budget_share: None,
            sealed: true,
            retired: false,
        }
    }
}
