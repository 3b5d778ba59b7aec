//! What `signature` promises, tested.

use super::*;
use crate::bundle::{
    BodyError,
    example::{Key, anchors, first, full, signed},
};

fn verify(envelope: &Envelope) -> Result<Verified, BundleError> {
    Verified::verify(&envelope.encode().unwrap(), &anchors())
}

fn slug(envelope: &Envelope) -> &'static str {
    verify(envelope).unwrap_err().code().slug()
}

#[test]
fn any_two_of_the_four_kinds_of_signers_suffice() {
    for pair in [[0, 1], [1, 2], [2, 3], [3, 0]] {
        let envelope = signed(full().encode(), &pair);
        let verified = verify(&envelope).unwrap();
        assert_eq!(verified.bundle(), &full());
        assert_eq!(verified.digest(), full().digest());
        assert_eq!(verified.envelope(), envelope.encode().unwrap());
    }
}

#[test]
fn fewer_than_m_signers_are_refused() {
    for signers in [&[][..], &[0]] {
        assert_eq!(slug(&signed(first().encode(), signers)), "too-few-signatures");
    }
}

#[test]
fn the_same_signer_twice_counts_once() {
    let error = verify(&signed(first().encode(), &[1, 1])).unwrap_err();
    let expected =
        BundleError::TooFewSignatures { needed: 2, valid: 1, unknown: 0, invalid: 0, repeated: 1 };
    assert_eq!(error, expected);
}

#[test]
fn a_signer_who_is_not_anchored_is_ignored() {
    let error = verify(&signed(first().encode(), &[0, 4])).unwrap_err();
    assert!(matches!(error, BundleError::TooFewSignatures { valid: 1, unknown: 1, .. }));
    verify(&signed(first().encode(), &[4, 0, 5, 1])).unwrap();
}

#[test]
fn a_signature_over_another_body_or_for_another_purpose_does_not_count() {
    let mut moved = signed(full().encode(), &[0, 1]);
    moved.body = first().encode();
    assert_eq!(slug(&moved), "too-few-signatures");
    let body = first().encode();
    let foreign = Key::new(0).sign("casemate.order.v1", &body, 1);
    let mut envelope = signed(body, &[1]);
    envelope.signatures.push(foreign);
    let error = verify(&envelope).unwrap_err();
    assert!(matches!(error, BundleError::TooFewSignatures { valid: 1, invalid: 1, .. }));
}

#[test]
fn a_fido_signature_without_a_touch_does_not_count() {
    let body = first().encode();
    let mut envelope = signed(body.clone(), &[0]);
    envelope.signatures.push(Key::new(2).sign(NAMESPACE, &body, 0));
    assert_eq!(slug(&envelope), "too-few-signatures");
}

#[test]
fn another_sites_bundle_is_refused_though_its_signers_are_ours() {
    let mut bundle = first();
    bundle.site.namespace = crate::bundle::example::label("other");
    assert_eq!(slug(&signed(bundle.encode(), &[0, 1])), "foreign-namespace");
}

#[test]
fn an_unsigned_body_is_not_looked_at() {
    assert_eq!(slug(&signed(vec![0xff; 40], &[0])), "too-few-signatures");
}

#[test]
fn a_signed_body_that_is_wrong_is_refused_by_its_own_name() {
    let mut version = first().encode();
    version[1] = 9;
    assert_eq!(slug(&signed(version, &[0, 1])), "unknown-version");
    let mut longer = first().encode();
    longer.push(0);
    let error = verify(&signed(longer, &[0, 1])).unwrap_err();
    assert!(matches!(error, BundleError::Body(BodyError::Truncated(_))));
}

#[test]
fn a_threshold_of_zero_opens_nothing() {
    let mut anchors = anchors();
    anchors.threshold = 0;
    let bytes = signed(first().encode(), &[]).encode().unwrap();
    assert!(Verified::verify(&bytes, &anchors).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Verified::verify(&bytes, &anchors());
    }
}
