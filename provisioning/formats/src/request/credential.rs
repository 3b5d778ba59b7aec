//! A credential made in software (TPM2_MakeCredential, TPM 2.0 Part 1, section 24): a secret that
//! only the TPM with this EK gives up, and only while it also has this AK. Workstation only.

use ::p256::elliptic_curve::sec1::ToSec1Point as _;
use aes::{Aes128, Aes256};
use cfb_mode::{Encryptor, cipher::KeyIvInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use super::{
    Credential,
    endorsement::{EndorsementKey, Point},
    public::PublicError,
};
use crate::digest::{Digest, Name, tagged};

/// Encrypts `secret` to the TPM that has `ek` and, beside it, the key named `ak`. `random` fills a
/// buffer with fresh random bytes (for the ephemeral key).
///
/// # Errors
/// [`PublicError::Point`]: the EK's point is not on its curve.
pub fn make(
    ek: &EndorsementKey,
    ak: &Name,
    secret: &Zeroizing<[u8; 32]>,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<Credential, PublicError> {
    Ok(match ek.point()? {
        Point::P256(public) => p256::wrap(&public, ak, secret, random),
        Point::P384(public) => p384::wrap(&public, ak, secret, random),
    })
}

/// What the box answers to a credential: it knows the secret, and answers this nonce.
#[must_use]
pub fn answer(secret: &[u8], nonce: &[u8; 32]) -> Digest {
    tagged("credential", &[secret, nonce])
}

/// TPM2B_ID_OBJECT(TPM2B integrity, identity) and TPM2B_ENCRYPTED_SECRET(TPMS_ECC_POINT).
fn assemble(integrity: &[u8], identity: &[u8], point: &[u8]) -> Credential {
    let (x, y) = point.split_at(point.len() / 2);
    Credential {
        id_object: sized(&[&sized(integrity), identity].concat()),
        secret: sized(&[sized(x), sized(y)].concat()),
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).expect("points, digests and secrets are short");
    [&size.to_be_bytes()[..], bytes].concat()
}

/// KDFe (Part 1, 11.4.10.3), one block: as many bits as the hash has.
fn kdfe<H: sha2::Digest>(shared: &[u8], own_x: &[u8], their_x: &[u8]) -> Zeroizing<Vec<u8>> {
    let block = H::new()
        .chain_update(1_u32.to_be_bytes())
        .chain_update(shared)
        .chain_update(b"IDENTITY\0")
        .chain_update(own_x)
        .chain_update(their_x)
        .finalize();
    Zeroizing::new(block.to_vec())
}

/// One curve with the hash and the cipher of its EK template.
macro_rules! suite {
    ($curve:ident, $coordinate:literal, $hash:ty, $hash_bits:literal, $cipher:ty, $key_bits:literal) => {
        mod $curve {
            use ::$curve::{PublicKey, SecretKey, ecdh::diffie_hellman};

            use super::*;

            pub fn wrap(
                ek: &PublicKey,
                ak: &Name,
                secret: &Zeroizing<[u8; 32]>,
                random: &mut dyn FnMut(&mut [u8]),
            ) -> Credential {
                let mut bytes = Zeroizing::new([0; $coordinate]);
                let ephemeral = loop {
                    random(bytes.as_mut());
                    // Zero, or not below the order: once in 2^32 and rarer.
                    if let Ok(key) = SecretKey::from_slice(bytes.as_ref()) {
                        break key;
                    }
                };
                let shared = diffie_hellman(ephemeral.to_nonzero_scalar(), ek.as_affine());
                let own = ephemeral.public_key().to_sec1_point(false);
                let own = &own.as_bytes()[1..];
                let theirs = ek.to_sec1_point(false);
                let theirs = &theirs.as_bytes()[1..];
                let seed = kdfe::<$hash>(
                    shared.raw_secret_bytes(),
                    &own[..$coordinate],
                    &theirs[..$coordinate],
                );
                let key = kdfa(&seed, b"STORAGE\0", ak.as_bytes(), $key_bits);
                // TPM2B_DIGEST of the secret, in CFB; IV zero: the key is used once.
                let mut identity = sized(secret.as_ref());
                Encryptor::<$cipher>::new_from_slices(&key, &[0; 16])
                    .expect("KDFa gave as many bits as the cipher takes")
                    .encrypt(&mut identity);
                let integrity_key = kdfa(&seed, b"INTEGRITY\0", &[], $hash_bits);
                let integrity = Hmac::<$hash>::new_from_slice(&integrity_key)
                    .expect("HMAC takes any key")
                    .chain_update(&identity)
                    .chain_update(ak.as_bytes())
                    .finalize();
                assemble(&integrity.into_bytes(), &identity, own)
            }

            /// KDFa (Part 1, 11.4.10.2), at most one block; the label with its NUL.
            fn kdfa(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
                let block = Hmac::<$hash>::new_from_slice(key)
                    .expect("HMAC takes any key")
                    .chain_update(1_u32.to_be_bytes())
                    .chain_update(label)
                    .chain_update(context)
                    .chain_update(bits.to_be_bytes())
                    .finalize();
                let mut block = Zeroizing::new(block.into_bytes().to_vec());
                block.truncate(bits as usize / 8);
                block
            }
        }
    };
}
suite!(p256, 32, Sha256, 256, Aes128, 128);
suite!(p384, 48, Sha384, 384, Aes256, 256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::parse_hex, request::public::AttestationKey};

    /// Each golden file was given to the TPM whose keys it names (swtpm, TPM2_ActivateCredential),
    /// which gave the secret back.
    #[test]
    fn credentials_equal_those_a_tpm_activated() {
        let ak = AttestationKey::parse(include_bytes!("../../testdata/request/ak.tpmt")).unwrap();
        for (public, golden) in [
            (
                &include_bytes!("../../testdata/request/ek-p256.tpmt")[..],
                include_str!("../../testdata/request/credential-p256.hex"),
            ),
            (
                &include_bytes!("../../testdata/request/ek-p384.tpmt")[..],
                include_str!("../../testdata/request/credential-p384.hex"),
            ),
        ] {
            let ek = EndorsementKey::parse(public).unwrap();
            let secret = Zeroizing::new([0x5a; 32]);
            let made = make(&ek, ak.name(), &secret, &mut |bytes| bytes.fill(0x2a)).unwrap();
            let mut lines = golden.lines().map(|line| parse_hex(line.as_bytes()).unwrap());
            assert_eq!(Some(made.id_object), lines.next());
            assert_eq!(Some(made.secret), lines.next());
        }
    }

    #[test]
    fn an_ephemeral_key_out_of_range_is_drawn_again() {
        let ek = EndorsementKey::parse(include_bytes!("../../testdata/request/ek-p384.tpmt"));
        let ak = AttestationKey::parse(include_bytes!("../../testdata/request/ak.tpmt")).unwrap();
        let mut draws = [0x00, 0xff, 0x2a].into_iter();
        let _ = make(&ek.unwrap(), ak.name(), &Zeroizing::new([1; 32]), &mut |bytes| {
            bytes.fill(draws.next().unwrap());
        })
        .unwrap();
        assert_eq!(draws.next(), None);
    }
}
