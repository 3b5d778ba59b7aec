//! What `file` promises, tested.

use proptest::prelude::*;

use super::*;
use crate::bundle::example::{digest, first, golden, label, signed};

fn example() -> ShareFile {
    ShareFile {
        namespace: label("example"),
        generation: 1,
        split: 1,
        threshold: 2,
        fingerprint: digest("fingerprint"),
        share: Share::from_bytes(&[3; SHARE_BYTES]).unwrap(),
        anchors: Vec::new(),
        bundle: signed(first().encode(), &[0, 1]).encode().unwrap(),
    }
}

#[test]
fn a_share_file_keeps_its_bytes_with_and_without_a_bundle() {
    let mut file = example();
    golden("share/with-bundle.share", &file.expose_encoded());
    file.bundle.clear();
    golden("share/without-bundle.share", &file.expose_encoded());
}

#[test]
fn a_share_file_keeps_its_bytes_with_anchors() {
    let mut file = example();
    file.anchors = b"anchors".to_vec();
    golden("share/with-anchors.share", &file.expose_encoded());
    let read = ShareFile::decode(&file.expose_encoded()).unwrap();
    assert_eq!((read.anchors, read.bundle), (file.anchors, file.bundle));
    let mut none = example().expose_encoded().to_vec();
    none[17] = 2;
    let at = none.len() - example().bundle.len() - 4;
    none.splice(at..at, [0; 4]);
    assert_eq!(ShareFile::decode(&none).err(), Some(ShareFileError::Malformed), "version 2 for 1");
}

#[test]
fn a_share_file_survives_its_bytes() {
    let file = example();
    let read = ShareFile::decode(&file.expose_encoded()).unwrap();
    assert_eq!(read.namespace, file.namespace);
    assert_eq!((read.generation, read.split, read.threshold), (1, 1, 2));
    assert_eq!((read.fingerprint, read.bundle), (file.fingerprint, file.bundle));
    assert!(read.share.expose_bytes() == file.share.expose_bytes());
}

#[test]
fn cuts_additions_and_later_versions_are_refused() {
    let bytes = example().expose_encoded();
    for at in 0..bytes.len() {
        assert!(ShareFile::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(ShareFile::decode(&longer).err(), Some(ShareFileError::TrailingBytes));
    let mut later = bytes.to_vec();
    later[17] = 3;
    assert_eq!(ShareFile::decode(&later).err(), Some(ShareFileError::UnknownVersion(3)));
}

#[test]
fn a_bundle_beyond_its_limit_is_refused() {
    let mut file = example();
    file.bundle = vec![0; limits::BUNDLE_BYTES + 1];
    assert_eq!(ShareFile::decode(&file.expose_encoded()).err(), Some(ShareFileError::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ShareFile::decode(&bytes);
        let _ = ShareFile::decode(&[MAGIC.as_slice(), &[0, 1], &bytes].concat());
    }
}

#[test]
fn a_share_of_another_root_split_or_custodian_is_told_apart() {
    let bundle = crate::bundle::example::full();
    let established = bundle.root.established.clone().unwrap();
    let shares = || {
        let asked = bundle.root.established_split().unwrap();
        crate::share::split::split(&crate::bundle::example::ROOT, &asked).unwrap()
    };
    let file = |share| ShareFile {
        generation: established.generation,
        split: bundle.root.split,
        threshold: bundle.root.threshold,
        fingerprint: established.fingerprint,
        share,
        ..example()
    };
    for share in shares() {
        assert_eq!(file(share).is_of(&bundle.root), Ok(()));
    }
    let one = || file(shares().remove(0));
    let check = |file: ShareFile| file.is_of(&bundle.root).unwrap_err();
    assert_eq!(check(ShareFile { fingerprint: digest("another"), ..one() }), Code::WrongRoot);
    assert_eq!(check(ShareFile { generation: 1, ..one() }), Code::WrongRoot);
    assert_eq!(check(ShareFile { split: 7, ..one() }), Code::WrongSplit);
    let other = Share::from_bytes(&[1; SHARE_BYTES]).unwrap();
    assert_eq!(check(ShareFile { share: other, ..one() }), Code::WrongShare);
    assert_eq!(one().is_of(&first().root), Err(Code::NoRoot));
}
