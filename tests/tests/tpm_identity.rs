//! Who a TPM is, what it quotes, whose credentials it opens.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::tpm::{Tpm, TpmError};
use casemate_formats::{
    bundle::body::EkTemplate,
    digest::{Digest, Name},
    measure,
    request::Credential,
};
use casemate_qemu::swtpm::Banks;
use casemate_tests::{credential::credential, swtpm::SoftTpm};
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};

fn open(soft: &SoftTpm) -> Tpm {
    Tpm::open(&soft.tcti(), None).expect("opens")
}

#[test]
fn with_a_manufacturers_certificate_the_ek_is_p384_and_the_certificate_is_its() {
    let soft = SoftTpm::manufactured(Banks::Sha256).unwrap();
    let tpm = open(&soft);
    let identity = tpm.identity();
    assert_eq!(identity.ek_template, EkTemplate::P384);
    assert_eq!(identity.ek.as_bytes().len(), 50, "a SHA-384 name");
    let certificate = identity.ek_certificate.clone().expect("has one");
    // The point of the EK stands in its certificate.
    let x = &identity.ek_public[identity.ek_public.len() - 98..][..48];
    assert!(certificate.windows(48).any(|window| window == x));
    assert_eq!(
        certificate.len(),
        4 + usize::from(u16::from_be_bytes([certificate[2], certificate[3]]))
    );

    let forced = {
        drop(tpm);
        Tpm::open(&soft.tcti(), Some(EkTemplate::P256)).unwrap()
    };
    assert_eq!(forced.identity().ek_template, EkTemplate::P256);
    assert_ne!(forced.identity().ek, identity.ek);
    assert_eq!(forced.identity().ak, identity.ak, "the AK does not depend on it");
    assert_eq!(forced.lockout_counter(), Ok(0));
}

#[test]
fn ek_and_ak_are_the_same_after_a_power_cut_and_other_on_another_tpm() {
    let mut soft = SoftTpm::blank().unwrap();
    let first = open(&soft).identity();
    assert_eq!((first.ek_template, &first.ek_certificate), (EkTemplate::P256, &None));
    soft.power_cycle().unwrap();
    let second = open(&soft).identity();
    assert_eq!((&first.ek, &first.ak), (&second.ek, &second.ak));
    let other = open(&SoftTpm::blank().unwrap()).identity();
    assert_ne!(first.ek, other.ek);
    assert_ne!(first.ak, other.ak);
}

#[test]
fn only_the_expected_ek_is_taken_and_its_template_with_it() {
    let soft = SoftTpm::manufactured(Banks::Sha256).unwrap();
    let p256 = Tpm::open(&soft.tcti(), Some(EkTemplate::P256)).unwrap().identity().ek.clone();
    let tpm = open(&soft);
    let p384 = tpm.identity().ek.clone();
    assert_eq!(tpm.expect_ek(&p384, EkTemplate::P384), Ok(()));
    assert_eq!(tpm.expect_ek(&p384, EkTemplate::P256), Err(TpmError::ForeignEndorsement));
    assert_eq!(tpm.identity().ek, p384, "the former stays");
    tpm.random(8).expect("and works");
    assert_eq!(tpm.expect_ek(&p256, EkTemplate::P256), Ok(()));
    assert_eq!(tpm.identity().ek, p256);
    tpm.random(8).expect("and works");
    let foreign = Name::new(&[&[0, 0x0b][..], &[9; 32]].concat()).unwrap();
    assert_eq!(tpm.expect_ek(&foreign, EkTemplate::P256), Err(TpmError::ForeignEndorsement));
    assert_eq!(tpm.open_handles(), Ok(1), "one EK is loaded");
}

#[test]
fn a_tpm_without_a_sha256_bank_and_no_tpm_are_refused_by_name() {
    let soft = SoftTpm::manufactured(Banks::Sha1).unwrap();
    assert_eq!(Tpm::open(&soft.tcti(), None).err(), Some(TpmError::NoSha256Bank));
    let nowhere = soft.folder().join("nothing");
    let tcti = format!("swtpm:path={}", nowhere.display());
    assert_eq!(Tpm::open(&tcti, None).err(), Some(TpmError::Absent));
    assert_eq!(Tpm::open("device:/dev/null/nothing", None).err(), Some(TpmError::Absent));
}

#[test]
fn a_quote_covers_pcrs_and_extra_data_and_verifies_by_the_ak() {
    let soft = SoftTpm::blank().unwrap();
    let tpm = open(&soft);
    tpm.extend(11, measure::ENTER).unwrap();
    let extra = Digest::sha256(b"claims and nonce");
    let quote = tpm.quote(&extra).unwrap();
    assert_eq!(quote.attest.len(), 145, "16 PCRs, a P-256 AK: a fixed length");
    assert!(quote.attest.starts_with(&[0xff, b'T', b'C', b'G', 0x80, 0x18]));
    assert!(quote.attest.windows(32).any(|window| window == extra.0));
    let digest = Digest::sha256(&quote.pcrs.iter().flat_map(|pcr| pcr.0).collect::<Vec<_>>());
    assert!(quote.attest.ends_with(&digest.0), "the digest of the PCRs given beside");
    assert_eq!(quote.pcrs[11], measure::phase(Digest::ZERO, measure::ENTER));

    // TPMT_SIGNATURE: algorithm, hash, two TPM2B. TPMT_PUBLIC ends in two TPM2B of the point.
    let signature = &quote.signature;
    assert_eq!(signature[..4], [0x00, 0x18, 0x00, 0x0b]);
    let (r, s) = two(&signature[4..]);
    let public = tpm.identity().ak_public.clone();
    let (x, y) = two(&public[public.len() - 68..]);
    let key = VerifyingKey::from_sec1_bytes(&[&[4][..], &x, &y].concat()).unwrap();
    let signature = Signature::from_scalars(r, s).unwrap();
    key.verify_prehash(&Digest::sha256(&quote.attest).0, &signature).unwrap();
    assert_eq!(tpm.lockout_counter(), Ok(0));
}

/// Two TPM2B of at most 32 bytes, as 32 bytes each.
fn two(bytes: &[u8]) -> ([u8; 32], [u8; 32]) {
    let mut rest = bytes;
    let mut next = || {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let mut value = [0; 32];
        value[32 - length..].copy_from_slice(&rest[2..2 + length]);
        rest = &rest[2 + length..];
        value
    };
    (next(), next())
}

#[test]
fn a_credential_opens_on_the_tpm_that_has_both_keys_alone() {
    for template in [EkTemplate::P256, EkTemplate::P384] {
        let soft = SoftTpm::blank().unwrap();
        let tpm = Tpm::open(&soft.tcti(), Some(template)).unwrap();
        let identity = tpm.identity();
        let made = credential(&identity.ek_public, &identity.ak, [0x5a; 32]);
        assert_eq!(tpm.activate(&made).unwrap().as_slice(), [0x5a; 32], "{template:?}");

        let other_ak = Name::new(&[&[0, 0x0b][..], &[1; 32]].concat()).unwrap();
        let wrong_ak = credential(&identity.ek_public, &other_ak, [0x5a; 32]);
        assert_eq!(tpm.activate(&wrong_ak).unwrap_err(), TpmError::ForeignCredential);

        let elsewhere = SoftTpm::blank().unwrap();
        let other = Tpm::open(&elsewhere.tcti(), Some(template)).unwrap();
        let wrong_ek = credential(&other.identity().ek_public, &identity.ak, [0x5a; 32]);
        assert_eq!(tpm.activate(&wrong_ek).unwrap_err(), TpmError::ForeignCredential);

        let mut trailing = made.clone();
        trailing.id_object.push(0);
        assert_eq!(tpm.activate(&trailing).unwrap_err(), TpmError::ForeignCredential);
        let empty = Credential { id_object: vec![], secret: vec![0, 0] };
        assert_eq!(tpm.activate(&empty).unwrap_err(), TpmError::ForeignCredential);
        assert_eq!(tpm.lockout_counter(), Ok(0));
        assert_eq!(tpm.open_handles(), Ok(1));
    }
}
