//! Updates byte for byte, against OpenSSL, and what is refused.

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../testdata/efi/list.bin");

#[test]
fn a_list_is_the_golden_bytes_and_gives_its_certificates_back() {
    let certificates: [&[u8]; 2] = [b"first certificate", b"second"];
    let bytes = list(&OWNER, &certificates);
    assert_eq!(bytes, GOLDEN);
    assert_eq!(
        super::certificates(&bytes).unwrap(),
        [(OWNER, &b"first certificate"[..]), (OWNER, &b"second"[..])]
    );
}

#[test]
fn what_is_not_a_list_of_certificates_is_refused() {
    let bytes = list(&OWNER, &[b"certificate"]);
    for cut in 1..bytes.len() {
        assert!(super::certificates(&bytes[..cut]).is_err(), "{cut}");
    }
    let mut hash = bytes.clone();
    hash[0] ^= 1;
    assert_eq!(super::certificates(&hash), Err(VariableError::NotCertificate));
    let slack = [bytes.as_slice(), &[0]].concat();
    assert_eq!(super::certificates(&slack), Err(VariableError::Length));
    let mut endless = bytes;
    endless[16..20].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(super::certificates(&endless), Err(VariableError::Length));
}

#[test]
fn names_are_those_of_efivarfs() {
    assert_eq!(Variable::Pk.file_name(), "PK-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    assert_eq!(Variable::Db.file_name(), "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f");
    assert_eq!(Variable::ALL.map(Variable::name), ["db", "KEK", "PK"]);
}

#[test]
fn times_are_utc_without_fraction() {
    // 2024-02-29 23:59:58, the leap day.
    assert_eq!(efi_time(1_709_251_198), [0xe8, 7, 2, 29, 23, 59, 58, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(efi_time(0)[..4], [0xb2, 7, 1, 1]);
    assert_eq!(efi_time(4_102_444_799)[..7], [0x33, 8, 12, 31, 23, 59, 59]);
}

#[test]
fn the_signature_covers_name_vendor_attributes_time_and_content() {
    let bytes = signed_bytes(Variable::Kek, &efi_time(0), b"content");
    assert_eq!(bytes[..6], *b"K\0E\0K\0");
    assert_eq!(bytes[6..22], GLOBAL.0);
    assert_eq!(bytes[22..26], [0x27, 0, 0, 0]);
    assert_eq!(bytes[42..], *b"content");
}

#[cfg(feature = "sign")]
mod signed {
    use std::{fs, process::Command};

    use super::*;
    use crate::efi::signer::Signer;

    const KEY: &str = include_str!("../../../testdata/efi/test.key.pem");
    const CERTIFICATE: &str = include_str!("../../../testdata/efi/test.certificate.pem");
    const OTHER_KEY: &str = include_str!("../../../testdata/efi/test.other.key.pem");
    const OTHER: &str = include_str!("../../../testdata/efi/test.other.certificate.pem");
    const GOLDEN: &[u8] = include_bytes!("../../../testdata/efi/db.auth");

    fn signer() -> Signer {
        Signer::new(KEY, CERTIFICATE).unwrap()
    }

    fn update() -> Vec<u8> {
        let signer = signer();
        sign(Variable::Db, 1_700_000_000, &[signer.certificate()], &signer).unwrap()
    }

    #[test]
    fn an_update_is_the_golden_bytes() {
        assert_eq!(update(), GOLDEN);
    }

    #[test]
    fn an_update_gives_back_what_it_sets() {
        let (signer, bytes) = (signer(), update());
        let parsed = verify(Variable::Db, &bytes, signer.certificate()).unwrap();
        assert_eq!(parsed.certificates().unwrap(), [(OWNER, signer.certificate())]);
        assert_eq!(parsed, Update::parse(&bytes).unwrap());
    }

    #[test]
    fn openssl_accepts_the_signature() {
        let bytes = update();
        let parsed = Update::parse(&bytes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // OpenSSL wants the ContentInfo that firmware refuses: SEQUENCE { signedData, [0] … }.
        let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
        let wrap = |tag: u8, inner: &[u8]| {
            let length = u16::try_from(inner.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], inner].concat()
        };
        let inner = [&oid[..], &wrap(0xa0, parsed.signature)].concat();
        fs::write(at("signature"), wrap(0x30, &inner)).unwrap();
        let message = signed_bytes(Variable::Db, parsed.time, parsed.list);
        fs::write(at("message"), message).unwrap();
        fs::write(at("certificate"), CERTIFICATE).unwrap();
        let status = Command::new("openssl")
            .args(["cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-in"])
            .arg(at("signature"))
            .arg("-content")
            .arg(at("message"))
            .arg("-certfile")
            .arg(at("certificate"))
            .arg("-out")
            .arg(at("out"))
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn another_name_time_content_signer_or_form_is_refused() {
        let (signer, bytes) = (signer(), update());
        let certificate = signer.certificate();
        assert_eq!(verify(Variable::Pk, &bytes, certificate), Err(VariableError::Signature));
        let other = Signer::new(OTHER_KEY, OTHER).unwrap();
        assert_eq!(
            verify(Variable::Db, &bytes, other.certificate()),
            Err(VariableError::Signature)
        );
        let mut later = bytes.clone();
        later[6] ^= 1;
        assert_eq!(verify(Variable::Db, &later, certificate), Err(VariableError::Signature));
        let mut swapped = bytes.clone();
        *swapped.last_mut().unwrap() ^= 1;
        assert_eq!(verify(Variable::Db, &swapped, certificate), Err(VariableError::Signature));
        let mut form = bytes.clone();
        form[22] ^= 1;
        assert_eq!(Update::parse(&form), Err(VariableError::Form));
        for cut in [0, 15, 16, 39, 40, 300] {
            assert!(Update::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_key_and_a_foreign_certificate_make_no_signer() {
        assert!(Signer::new(KEY, OTHER).is_err());
        assert!(Signer::new(CERTIFICATE, CERTIFICATE).is_err());
        assert!(Signer::new(KEY, KEY).is_err());
    }
}
