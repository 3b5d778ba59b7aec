//! Any bytes: no parser panics, and no flipped byte goes unnoticed.

use casemate_formats::{
    digest::Digest,
    request::{
        endorsement::EndorsementKey,
        eventlog::EventLog,
        firmware::{SecureBoot, applications},
        public::AttestationKey,
        quote,
        verify::{self, Expected, Known},
    },
};
use proptest::{collection::vec, prelude::*};

use crate::box_in_software::{NONCE, SoftBox, anchors, image};

/// Reads everything that a log can be asked.
fn read(log: &[u8]) {
    if let Ok(log) = EventLog::parse(log) {
        let _ = log.replay();
        let _ = SecureBoot::read(&log);
        let _ = applications(&log);
    }
}

/// Bytes with a few changes: most of the structure survives, so the parser gets deep.
fn damaged(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = whole.len();
    (vec((0..length, any::<u8>()), 0..4), 0..=length).prop_map(move |(changes, end)| {
        let mut bytes = whole.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(end);
        bytes
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..400)) {
        read(&bytes);
        let _ = EndorsementKey::parse(&bytes);
        let _ = AttestationKey::parse(&bytes);
        let spoken = SoftBox::healthy();
        let key = AttestationKey::parse(&spoken.ak_public()).unwrap();
        let _ = quote::check(&bytes, &bytes, &key, &spoken.pcrs, &Digest::ZERO);
    }

    #[test]
    fn no_damaged_log_makes_a_parser_panic(log in damaged(SoftBox::healthy().log.encode())) {
        read(&log);
    }

    #[test]
    fn no_damaged_quote_is_taken(
        attest in damaged(SoftBox::healthy().request().attest),
        signature in damaged(SoftBox::healthy().request().signature),
    ) {
        let (spoken, whole) = (SoftBox::healthy(), SoftBox::healthy().request());
        let key = AttestationKey::parse(&whole.ak_public).unwrap();
        let data = spoken.claims.extra_data(&NONCE);
        let taken = quote::check(&attest, &signature, &key, &spoken.pcrs, &data).is_ok();
        prop_assert_eq!(taken, attest == whole.attest && signature == whole.signature);
    }

    #[test]
    fn no_damaged_key_is_the_listed_one(
        ek in damaged(SoftBox::healthy().request().ek_public),
        ak in damaged(SoftBox::healthy().request().ak_public),
    ) {
        let host = SoftBox::healthy().host();
        let whole = SoftBox::healthy().request();
        if let Ok(key) = EndorsementKey::parse(&ek) {
            prop_assert_eq!(*key.name() == host.ek, ek == whole.ek_public);
        }
        if let Ok(key) = AttestationKey::parse(&ak) {
            prop_assert_eq!(*key.name() == host.ak, ak == whole.ak_public);
        }
    }
}

/// Some bytes of a log are not measured (device paths, section names): flipped, they may go through,
/// but must change nothing of the verdict.
#[test]
fn every_byte_of_a_log_is_refused_when_flipped_or_means_nothing() {
    let spoken = SoftBox::healthy();
    let (host, anchors, images) = (spoken.host(), anchors(), [image()]);
    let expected =
        Expected { nonce: &NONCE, anchors: &anchors, images: &images, host: Known::Listed(&host) };
    let mut request = spoken.request();
    let mut refused = 0;
    for at in 0..request.event_log.len() {
        request.event_log[at] ^= 0xff;
        match verify::request(&request, &expected) {
            Err(_) => refused += 1,
            Ok(attested) => {
                assert_eq!(attested.image, images[0], "{at}");
                assert_eq!(attested.other_applications, [], "{at}");
                assert_eq!(attested.pcrs, spoken.pcrs, "{at}");
            }
        }
        request.event_log[at] ^= 0xff;
    }
    assert!(refused > request.event_log.len() * 3 / 4, "{refused}");
}
