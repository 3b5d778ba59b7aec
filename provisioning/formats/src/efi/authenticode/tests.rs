//! The hash and the signature on a small image of our own, and what is refused. (That `sbverify` and
//! firmware accept them is tested where UKIs are made.)

use super::*;

/// A PE32+ header with room for everything that hashing looks at, and some content.
fn image() -> Vec<u8> {
    let mut pe: Vec<u8> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
    pe.truncate(3_993);
    pe[..2].copy_from_slice(b"MZ");
    pe[0x3c..0x40].copy_from_slice(&0x80_u32.to_le_bytes());
    pe[0x80..0x84].copy_from_slice(b"PE\0\0");
    pe[0x98..0x9a].copy_from_slice(&[0x0b, 0x02]);
    pe[0x98 + 108..0x98 + 112].copy_from_slice(&16_u32.to_le_bytes());
    pe[0x98 + 144..0x98 + 152].fill(0);
    pe
}

#[test]
fn the_hash_leaves_out_checksum_and_table_entry_and_nothing_else() {
    let (pe, optional) = (image(), 0x98);
    let base = hash(&pe).unwrap();
    for at in (0..pe.len()).step_by(7).chain(optional + 60..optional + 160) {
        if (0x3c..0x40).contains(&at) || (0x80..0x84).contains(&at) || at < 2 {
            continue;
        }
        let mut other = pe.clone();
        other[at] ^= 0x80;
        let left_out = (optional + 64..optional + 68).contains(&at);
        match hash(&other) {
            Ok(found) => assert_eq!(found == base, left_out, "byte {at}"),
            Err(_) => assert!(!left_out, "byte {at}"),
        }
    }
}

#[test]
fn what_is_not_a_64_bit_pe_image_is_refused() {
    let pe = image();
    assert_eq!(hash(b""), Err(PeError::NotPe));
    assert_eq!(hash(&pe[..0x98 + 100]), Err(PeError::NotPe));
    let mut pe32 = pe.clone();
    pe32[0x99] = 0x01;
    assert_eq!(hash(&pe32), Err(PeError::NotPe));
    let mut far = pe;
    far[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(hash(&far), Err(PeError::NotPe));
}

#[cfg(feature = "sign")]
mod signed {
    use super::*;
    use crate::efi::signer::Signer;

    const KEY: &str = include_str!("../../../testdata/efi/test.key.pem");
    const CERTIFICATE: &str = include_str!("../../../testdata/efi/test.certificate.pem");
    const OTHER_KEY: &str = include_str!("../../../testdata/efi/test.other.key.pem");
    const OTHER: &str = include_str!("../../../testdata/efi/test.other.certificate.pem");

    #[test]
    fn signing_keeps_the_hash_and_is_deterministic() {
        let signer = Signer::new(KEY, CERTIFICATE).unwrap();
        let signed = sign(&image(), &signer).unwrap();
        assert_eq!(signed, sign(&image(), &signer).unwrap());
        assert_eq!(hash(&signed), hash(&image()));
        assert_eq!(verify(&signed, signer.certificate()), hash(&image()));
        assert_eq!(sign(&signed, &signer), Err(PeError::Signed));
    }

    #[test]
    fn a_changed_image_a_foreign_signer_and_no_signature_are_refused() {
        let signer = Signer::new(KEY, CERTIFICATE).unwrap();
        let other = Signer::new(OTHER_KEY, OTHER).unwrap();
        let signed = sign(&image(), &signer).unwrap();
        let mut changed = signed.clone();
        changed[2_000] ^= 1;
        assert_eq!(verify(&changed, signer.certificate()), Err(PeError::Signature));
        assert_eq!(verify(&signed, other.certificate()), Err(PeError::Signature));
        assert_eq!(verify(&image(), signer.certificate()), Err(PeError::Unsigned));
        let behind = [signed.as_slice(), &[0; 8]].concat();
        assert_eq!(verify(&behind, signer.certificate()), Err(PeError::Table));
        // A signature of another image by the right key.
        let mut elsewhere = image();
        elsewhere[3_000] ^= 1;
        let elsewhere = sign(&elsewhere, &signer).unwrap();
        let moved = [&signed[..4_000], &elsewhere[4_000..]].concat();
        assert_eq!(verify(&moved, signer.certificate()), Err(PeError::Signature));
    }
}
