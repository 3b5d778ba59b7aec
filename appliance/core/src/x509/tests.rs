//! Certificates of the site: golden file, shapes, shortest lengths.

use super::*;

fn authority() -> Authority {
    Authority::new(&[7; 32], &Label::parse("example").expect("a name"), 1)
}

/// The authority's certificate is pinned by clients: a changed byte is a broken site.
#[test]
fn the_authority_is_the_golden_file() {
    assert_eq!(authority().certificate(), include_bytes!("../../testdata/authority.der"));
}

#[test]
fn another_generation_is_another_authority() {
    let second = Authority::new(&[7; 32], &Label::parse("example").expect("a name"), 2);
    assert_ne!(authority().certificate(), second.certificate());
}

#[test]
fn lengths_have_their_shortest_form() {
    assert_eq!(der::octets(&[0; 127])[..2], [0x04, 0x7f]);
    assert_eq!(der::octets(&[0; 128])[..3], [0x04, 0x81, 0x80]);
    assert_eq!(der::octets(&[0; 256])[..4], [0x04, 0x82, 0x01, 0x00]);
}

/// A certificate of the box names its authority's key, so that OpenSSL's strict mode accepts it.
#[test]
fn an_issued_certificate_names_its_issuer_key() {
    let names = ["box".to_owned()];
    let issued = authority().issue(&Server { spki: &[0x30, 0], names: &names, addresses: &[] });
    let id = key_id(&authority().key.verifying_key().to_bytes());
    assert!(issued.windows(20).any(|w| w == id));
}
