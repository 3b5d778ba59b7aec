//! Certificates (RFC 5280), written by hand because there are exactly two shapes: the site's
//! authority, byte for byte the same at every derivation, and the box's, one for each boot.
//! Nothing here parses a certificate.

mod der;

use core::net::IpAddr;

use casemate_formats::{bundle::body::Label, digest::Digest};
use ed25519_dalek::{Signer as _, SigningKey};

use der::{bits, bytes, context, integer, octets, oid, sequence, set, utf8};

/// The site's certificate authority of one root generation.
pub struct Authority {
    key: SigningKey,
    name: String,
}

impl Authority {
    /// From the seed that the root of `generation` derives (`Chain::ca_seed`).
    #[must_use]
    pub fn new(seed: &[u8; 32], namespace: &Label, generation: u32) -> Self {
        let name = format!("Casemate {namespace} {generation}");
        Self { key: SigningKey::from_bytes(seed), name }
    }

    /// The authority's own certificate, DER: what clients pin and what the bundle carries.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let public = self.key.verifying_key().to_bytes();
        let spki = sequence(&[&sequence(&[&oid(ED25519)]), &bits(&public)]);
        let extensions = [
            // Path length 0: it signs boxes, never another authority.
            extension(BASIC_CONSTRAINTS, true, &sequence(&[&boolean_true(), &integer(&[0])])),
            // keyCertSign alone (bit 5).
            extension(KEY_USAGE, true, &[0x03, 0x02, 0x02, 0x04]),
            extension(SUBJECT_KEY, false, &octets(&key_id(&public))),
        ];
        self.sign(&to_be_signed(
            &sequence(&[&oid(ED25519)]),
            &serial(&public),
            &name(&self.name),
            &name(&self.name),
            &spki,
            &extensions,
        ))
    }

    /// A certificate for the box's key of this boot.
    #[must_use]
    pub fn issue(&self, server: &Server<'_>) -> Vec<u8> {
        let issuer = key_id(&self.key.verifying_key().to_bytes());
        self.sign(&server.to_be_signed(
            &sequence(&[&oid(ED25519)]),
            &name(&self.name),
            Some(&issuer),
        ))
    }

    fn sign(&self, to_be_signed: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(to_be_signed).to_bytes();
        sequence(&[to_be_signed, &sequence(&[&oid(ED25519)]), &bits(&signature)])
    }
}

/// The box, as its certificate names it.
pub struct Server<'a> {
    /// SubjectPublicKeyInfo of its key of this boot, DER.
    pub spki: &'a [u8],
    /// DNS names, the first also as common name.
    pub names: &'a [String],
    /// Addresses it is reached at.
    pub addresses: &'a [IpAddr],
}

impl Server<'_> {
    /// A certificate signed by the box's own P-256 key, for as long as there is no root: only a quote
    /// vouches for it. `sign` gives an ASN.1 ECDSA-SHA256 signature.
    ///
    /// # Errors
    /// What `sign` refuses.
    pub fn self_signed<E>(
        &self,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let algorithm = sequence(&[&oid(ECDSA_SHA256)]);
        let to_be_signed = self.to_be_signed(&algorithm, &self.subject(), None);
        let signature = sign(&to_be_signed)?;
        Ok(sequence(&[&to_be_signed, &algorithm, &bits(&signature)]))
    }

    fn subject(&self) -> Vec<u8> {
        name(self.names.first().map_or("casemate", String::as_str))
    }

    fn to_be_signed(&self, algorithm: &[u8], issuer: &[u8], authority: Option<&[u8]>) -> Vec<u8> {
        let mut extensions = vec![
            extension(BASIC_CONSTRAINTS, true, &sequence(&[])),
            // digitalSignature alone (bit 0).
            extension(KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80]),
            extension(EXTENDED_KEY_USAGE, false, &sequence(&[&oid(SERVER_AUTH)])),
            extension(SUBJECT_KEY, false, &octets(&key_id(self.spki))),
            extension(ALTERNATIVE_NAMES, false, &self.alternative_names()),
        ];
        if let Some(id) = authority {
            extensions.push(extension(AUTHORITY_KEY, false, &sequence(&[&context(0, id)])));
        }
        to_be_signed(algorithm, &serial(self.spki), issuer, &self.subject(), self.spki, &extensions)
    }

    fn alternative_names(&self) -> Vec<u8> {
        let names = self.names.iter().map(|name| context(2, name.as_bytes()));
        let addresses = self.addresses.iter().map(|address| match address {
            IpAddr::V4(v4) => context(7, &v4.octets()),
            IpAddr::V6(v6) => context(7, &v6.octets()),
        });
        sequence_of(names.chain(addresses))
    }
}

// Object identifiers, DER content bytes.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

fn to_be_signed(
    algorithm: &[u8],
    serial: &[u8],
    issuer: &[u8],
    subject: &[u8],
    spki: &[u8],
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    // 1970 as UTCTime, 9999 as GeneralizedTime (RFC 5280, 4.1.2.5): nothing expires at night.
    let validity = sequence(&[&bytes(0x17, b"700101000000Z"), &bytes(0x18, b"99991231235959Z")]);
    let version_3 = bytes(0xa0, &integer(&[2]));
    let extensions = bytes(0xa3, &sequence_of(extensions.iter().cloned()));
    sequence(&[
        &version_3,
        &integer(serial),
        algorithm,
        issuer,
        &validity,
        subject,
        spki,
        &extensions,
    ])
}

fn sequence_of(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    bytes(0x30, &items.collect::<Vec<_>>().concat())
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let value = octets(value);
    if critical {
        sequence(&[&oid(id), &boolean_true(), &value])
    } else {
        sequence(&[&oid(id), &value])
    }
}

fn boolean_true() -> [u8; 3] {
    [0x01, 0x01, 0xff]
}

fn name(common: &str) -> Vec<u8> {
    sequence(&[&set(&sequence(&[&oid(COMMON_NAME), &utf8(common)]))])
}

/// Key identifier: the leftmost 160 bits of the key's SHA-256 (RFC 7093, method 1).
fn key_id(key: &[u8]) -> [u8; 20] {
    let mut id = [0; 20];
    id.copy_from_slice(&Digest::sha256(key).0[..20]);
    id
}

/// A serial number of 16 bytes that a key always gets: positive, and never starting with a zero byte.
fn serial(key: &[u8]) -> [u8; 16] {
    let mut serial = [0; 16];
    serial.copy_from_slice(&Digest::sha256(key).0[16..]);
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

#[cfg(test)]
mod tests;
