//! A quote: what the TPM's attestation key signed about PCRs 0 to 15 (TPM 2.0 Part 2, 10.12).

use p256::ecdsa::{Signature, signature::Verifier as _};
use sha2::{Digest as _, Sha256};

use super::{
    public::AttestationKey,
    wire::{Reader, Truncated},
};
use crate::digest::{Digest, hex};

/// PCRs that every quote covers: 0 to 15 of the sha256 bank.
pub const PCRS: usize = 16;

/// TPM_GENERATED_VALUE: no restricted key signs foreign bytes that start like this.
const MAGIC: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const QUOTE: u16 = 0x8018;
/// TPML_PCR_SELECTION: one bank, SHA-256, three bytes, PCRs 0 to 15.
const SELECTION: [u8; 10] = [0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0xff, 0x00];
/// TPM_ALG_ECDSA, TPM_ALG_SHA256.
const ECDSA_SHA256: [u8; 4] = [0x00, 0x18, 0x00, 0x0b];

/// Why a quote does not hold. Named by the first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// TPMS_ATTEST ends too early.
    #[error("the attestation is cut short")]
    Truncated,
    /// Bytes after TPMS_ATTEST.
    #[error("the attestation has trailing bytes")]
    TrailingBytes,
    /// Not made inside a TPM.
    #[error("the attestation does not start with TPM_GENERATED_VALUE")]
    Magic,
    /// Another kind of attestation.
    #[error("the attestation is no quote: type {0:#06x}")]
    Type(u16),
    /// Another key, or one of another hierarchy.
    #[error("the quote names another signer")]
    Signer,
    /// Made for another question.
    #[error("the quote was made for other data")]
    ExtraData {
        /// What it should have bound.
        expected: Digest,
        /// What it binds, hex.
        found: String,
    },
    /// Another choice of PCRs, another bank, or several.
    #[error("the quote covers other PCRs")]
    Selection {
        /// TPML_PCR_SELECTION, hex.
        found: String,
    },
    /// The PCR values beside it are not those it covers.
    #[error("the PCR values are not those that were quoted")]
    Pcrs {
        /// The quoted digest.
        expected: Digest,
        /// That of the values given.
        found: Digest,
    },
    /// TPMT_SIGNATURE is not one ECDSA P-256 / SHA-256 signature.
    #[error("the signature is malformed or of another algorithm")]
    SignatureFormat,
    /// The signature is not this key's over this attestation.
    #[error("the signature is not the attestation key's")]
    Signature,
}

impl From<Truncated> for QuoteError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// What a checked quote says beside the PCRs: for logs and for noticing a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM has been powered.
    pub milliseconds: u64,
    /// Resets of the TPM.
    pub resets: u32,
    /// Restarts since the last reset.
    pub restarts: u32,
    /// Whether no higher clock value was ever given out.
    pub safe: bool,
    /// The TPM's firmware version.
    pub firmware: u64,
}

/// Checks a quote: structure to the last byte, signer, extraData, selection, values, signature.
///
/// # Errors
/// The first thing that does not hold.
pub fn check(
    attest: &[u8],
    signature: &[u8],
    key: &AttestationKey,
    pcrs: &[Digest; PCRS],
    extra_data: &Digest,
) -> Result<Clock, QuoteError> {
    let mut reader = Reader::new(attest);
    if reader.u32()? != MAGIC {
        return Err(QuoteError::Magic);
    }
    match reader.u16()? {
        QUOTE => {}
        other => return Err(QuoteError::Type(other)),
    }
    if reader.sized()? != key.qualified_name() {
        return Err(QuoteError::Signer);
    }
    let bound = reader.sized()?;
    if bound != extra_data.as_ref() {
        return Err(QuoteError::ExtraData { expected: *extra_data, found: hex(bound) });
    }
    let clock = clock(&mut reader)?;
    let found = selection(&mut reader)?;
    if found != SELECTION {
        return Err(QuoteError::Selection { found: hex(&found) });
    }
    let quoted = reader.sized()?;
    if !reader.is_empty() {
        return Err(QuoteError::TrailingBytes);
    }
    let given = digest_of(pcrs);
    if quoted != given.as_ref() {
        let quoted = quoted.try_into().map_err(|_| QuoteError::Truncated)?;
        return Err(QuoteError::Pcrs { expected: Digest(quoted), found: given });
    }
    key.key().verify(attest, &parse_signature(signature)?).map_err(|_| QuoteError::Signature)?;
    Ok(clock)
}

/// pcrDigest: SHA-256 over the values in order.
fn digest_of(pcrs: &[Digest; PCRS]) -> Digest {
    let mut hash = Sha256::new();
    pcrs.iter().for_each(|pcr| hash.update(pcr));
    Digest(hash.finalize().into())
}

/// TPMS_CLOCK_INFO and the firmware's version.
fn clock(reader: &mut Reader<'_>) -> Result<Clock, Truncated> {
    Ok(Clock {
        milliseconds: reader.u64()?,
        resets: reader.u32()?,
        restarts: reader.u32()?,
        safe: reader.u8()? == 1,
        firmware: reader.u64()?,
    })
}

/// TPML_PCR_SELECTION as it stands, so that an unexpected one can be shown.
fn selection(reader: &mut Reader<'_>) -> Result<Vec<u8>, Truncated> {
    let count: [u8; 4] = reader.array()?;
    let mut all = count.to_vec();
    // A TPM has at most 16 banks; a larger count runs out of bytes.
    for _ in 0..u32::from_be_bytes(count) {
        let head: [u8; 3] = reader.array()?;
        all.extend_from_slice(&head);
        all.extend_from_slice(reader.take(head[2].into())?);
    }
    Ok(all)
}

/// TPMT_SIGNATURE of ECDSA: algorithm, hash, r, s; each at most 32 bytes.
fn parse_signature(bytes: &[u8]) -> Result<Signature, QuoteError> {
    let mut reader = Reader::new(bytes);
    let mut parse = || -> Result<_, Truncated> {
        let scheme: [u8; 4] = reader.array()?;
        Ok((scheme, scalar(reader.sized()?), scalar(reader.sized()?), reader.is_empty()))
    };
    match parse() {
        Ok((ECDSA_SHA256, Some(r), Some(s), true)) => {
            Signature::from_scalars(r, s).map_err(|_| QuoteError::SignatureFormat)
        }
        _ => Err(QuoteError::SignatureFormat),
    }
}

fn scalar(bytes: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    out.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by swtpm with tpm2-tools: two banks (sha1, sha256), PCRs 0, 4, 7 and 11 extended.
    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!("../../testdata/request/", $name))
        };
    }
    const ATTEST: &[u8] = recorded!("quote.attest");
    const SIGNATURE: &[u8] = recorded!("quote.signature");

    fn ak() -> AttestationKey {
        AttestationKey::parse(recorded!("ak.tpmt")).unwrap()
    }

    fn pcrs() -> [Digest; PCRS] {
        let bytes: &[u8; 512] = recorded!("pcrs.sha256");
        core::array::from_fn(|i| Digest(bytes[32 * i..32 * (i + 1)].try_into().unwrap()))
    }

    fn extra_data() -> Digest {
        Digest::sha256(b"nonce")
    }

    fn error_of(attest: &[u8], signature: &[u8]) -> QuoteError {
        check(attest, signature, &ak(), &pcrs(), &extra_data()).unwrap_err()
    }

    #[test]
    fn a_quote_made_by_a_tpm_holds() {
        let clock = check(ATTEST, SIGNATURE, &ak(), &pcrs(), &extra_data()).unwrap();
        assert_eq!((clock.restarts, clock.safe), (0, false));
    }

    #[test]
    fn a_quote_for_another_nonce_is_refused() {
        let other = Digest::sha256(b"another nonce");
        let error = check(ATTEST, SIGNATURE, &ak(), &pcrs(), &other).unwrap_err();
        assert_eq!(
            error,
            QuoteError::ExtraData { expected: other, found: extra_data().to_string() }
        );
    }

    #[test]
    fn a_quote_of_other_pcrs_is_refused() {
        assert_eq!(
            error_of(recorded!("quote-pcr0-7.attest"), recorded!("quote-pcr0-7.signature")),
            QuoteError::Selection { found: "00000001000b03ff0000".into() }
        );
    }

    #[test]
    fn a_quote_of_the_sha1_bank_is_refused() {
        assert_eq!(
            error_of(recorded!("quote-sha1.attest"), recorded!("quote-sha1.signature")),
            QuoteError::Selection { found: "00000001000403ffff00".into() }
        );
    }

    #[test]
    fn a_quote_of_two_banks_is_refused() {
        assert!(matches!(
            error_of(recorded!("quote-both-banks.attest"), recorded!("quote-both-banks.signature")),
            QuoteError::Selection { .. }
        ));
    }

    #[test]
    fn another_attestation_by_the_same_key_is_refused() {
        assert_eq!(
            error_of(recorded!("time.attest"), recorded!("time.signature")),
            QuoteError::Type(0x8019)
        );
    }

    #[test]
    fn a_quote_by_a_key_of_another_hierarchy_is_refused() {
        // Its public area alone looks right: the owner's hierarchy has keys of the same attributes.
        let key = AttestationKey::parse(recorded!("ak-owner.tpmt")).unwrap();
        let error = check(
            recorded!("quote-owner.attest"),
            recorded!("quote-owner.signature"),
            &key,
            &pcrs(),
            &extra_data(),
        );
        assert_eq!(error.unwrap_err(), QuoteError::Signer);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(error_of(&[ATTEST, &[0]].concat(), SIGNATURE), QuoteError::TrailingBytes);
        assert_eq!(error_of(ATTEST, &[SIGNATURE, &[0]].concat()), QuoteError::SignatureFormat);
    }

    #[test]
    fn other_pcr_values_are_refused() {
        for at in 0..PCRS {
            let mut values = pcrs();
            values[at].0[0] ^= 1;
            let error = check(ATTEST, SIGNATURE, &ak(), &values, &extra_data()).unwrap_err();
            assert!(matches!(error, QuoteError::Pcrs { .. }));
        }
    }

    #[test]
    fn every_bit_of_a_quote_counts() {
        for bit in 0..ATTEST.len() * 8 {
            let mut attest = ATTEST.to_vec();
            attest[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&attest, SIGNATURE, &ak(), &pcrs(), &extra_data()).is_err(), "{bit}");
        }
        for bit in 0..SIGNATURE.len() * 8 {
            let mut signature = SIGNATURE.to_vec();
            signature[bit / 8] ^= 1 << (bit % 8);
            assert!(check(ATTEST, &signature, &ak(), &pcrs(), &extra_data()).is_err(), "{bit}");
        }
    }

    #[test]
    fn every_cut_of_a_quote_is_refused() {
        for end in 0..ATTEST.len() {
            assert!(check(&ATTEST[..end], SIGNATURE, &ak(), &pcrs(), &extra_data()).is_err());
        }
        for end in 0..SIGNATURE.len() {
            assert!(check(ATTEST, &SIGNATURE[..end], &ak(), &pcrs(), &extra_data()).is_err());
        }
    }
}
