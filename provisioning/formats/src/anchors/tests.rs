//! Anchors byte for byte, and each refusal by its name.

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../testdata/anchors.bin");

fn golden() -> Anchors {
    Anchors::decode(GOLDEN).unwrap()
}

#[test]
fn the_golden_anchors_are_read_and_written_the_same() {
    let anchors = golden();
    assert_eq!(anchors.namespace.as_str(), "example");
    assert_eq!((anchors.threshold, anchors.signers.len()), (2, 3));
    assert_eq!(anchors.encode().unwrap(), GOLDEN);
    assert_eq!(GOLDEN[..2], [0, 1]);
}

#[test]
fn every_truncation_and_any_trailing_byte_is_refused() {
    for cut in 0..GOLDEN.len() {
        assert!(Anchors::decode(&GOLDEN[..cut]).is_err(), "{cut}");
    }
    let trailing = [GOLDEN, &[0]].concat();
    assert_eq!(Anchors::decode(&trailing), Err(AnchorsError::TrailingBytes));
    assert_eq!(Anchors::decode(&vec![0; MAX_BYTES + 1]), Err(AnchorsError::TooLarge));
}

#[test]
fn another_format_version_is_refused_by_its_number() {
    let mut other = GOLDEN.to_vec();
    other[1] = 2;
    assert_eq!(Anchors::decode(&other), Err(AnchorsError::UnknownVersion(2)));
}

#[test]
fn a_second_form_of_the_same_anchors_is_refused() {
    // The threshold's neighbour, the namespace's length, as an over-long varint.
    let mut other = GOLDEN.to_vec();
    assert_eq!(other[2], 7);
    other.splice(2..3, [0x87, 0x00]);
    assert_eq!(Anchors::decode(&other), Err(AnchorsError::Malformed));
}

#[test]
fn thresholds_doubled_signers_and_foreign_variables_are_refused() {
    let refused = |change: fn(&mut Anchors)| {
        let mut anchors = golden();
        change(&mut anchors);
        anchors.encode().unwrap_err()
    };
    assert_eq!(refused(|a| a.threshold = 0), AnchorsError::Threshold { threshold: 0, signers: 3 });
    assert_eq!(refused(|a| a.threshold = 4), AnchorsError::Threshold { threshold: 4, signers: 3 });
    assert_eq!(refused(|a| a.signers[2] = a.signers[0].clone()), AnchorsError::DuplicateSigner);
    assert_eq!(refused(|a| a.pk.clear()), AnchorsError::Variable("PK", VariableError::Length));
    assert_eq!(
        refused(|a| a.kek.truncate(1_300)),
        AnchorsError::Variable("KEK", VariableError::Length)
    );
    assert!(matches!(refused(|a| a.db[22] ^= 1), AnchorsError::Variable("db", _)));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let _ = Anchors::decode(&bytes);
        let _ = Anchors::decode(&[&[0, 1], bytes.as_slice()].concat());
        let _ = Update::parse(&bytes);
        let _ = crate::efi::variable::certificates(&bytes);
        let _ = crate::efi::authenticode::hash(&bytes);
        let _ = crate::efi::boot_entry::BootEntry::decode(&bytes);
    }
}
