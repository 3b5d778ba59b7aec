//! What `envelope` promises, tested.

use proptest::prelude::*;

use super::*;
use crate::bundle::example::{first, golden, signed};

fn example() -> Vec<u8> {
    signed(first().encode(), &[0, 1]).encode().unwrap()
}

#[test]
fn the_envelope_keeps_its_bytes() {
    let bytes = example();
    golden("bundle/envelope.bundle", &bytes);
    assert_eq!(Envelope::parse(&bytes).unwrap().encode().unwrap(), bytes);
}

#[test]
fn ten_megabytes_are_refused_before_they_are_parsed() {
    let error = Envelope::parse(&vec![0; 10_000_000]).unwrap_err();
    assert_eq!(error, BundleError::TooLarge { limit: limits::BUNDLE_BYTES, found: 10_000_000 });
    assert_eq!(error.code().slug(), "too-large");
}

#[test]
fn an_envelope_that_would_be_too_large_is_not_written() {
    let envelope = Envelope { body: vec![0; limits::BUNDLE_BYTES], signatures: Vec::new() };
    assert_eq!(envelope.encode().unwrap_err().code().slug(), "too-large");
    let many = Envelope { body: Vec::new(), signatures: vec![Vec::new(); 17] };
    assert_eq!(many.encode().unwrap_err().code().slug(), "malformed-bundle");
    let long = Envelope { body: Vec::new(), signatures: vec![vec![0; 70_000]] };
    assert!(long.encode().is_err());
}

#[test]
fn every_cut_is_truncated_and_every_addition_trails() {
    let bytes = example();
    for at in 0..bytes.len() {
        let slug = Envelope::parse(&bytes[..at]).unwrap_err().code().slug();
        let expected = if at < MAGIC.len() { "malformed-bundle" } else { "truncated" };
        assert_eq!(slug, expected, "cut at {at}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Envelope::parse(&longer), Err(BundleError::TrailingBytes(1)));
}

#[test]
fn another_magic_or_version_is_refused_by_name() {
    let mut bytes = example();
    bytes[17] = 2;
    assert_eq!(Envelope::parse(&bytes), Err(BundleError::UnknownVersion(2)));
    bytes[0] = b'C';
    assert_eq!(Envelope::parse(&bytes).unwrap_err().code().slug(), "malformed-bundle");
}

proptest! {
    #[test]
    fn every_envelope_survives_its_bytes(
        body in prop::collection::vec(any::<u8>(), 0..300),
        signatures in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..16),
    ) {
        let envelope = Envelope { body, signatures };
        let bytes = envelope.encode().unwrap();
        prop_assert_eq!(Envelope::parse(&bytes).unwrap(), envelope);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::parse(&bytes);
        let _ = Envelope::parse(&[MAGIC.as_slice(), &[0, 1], &bytes].concat());
    }
}
