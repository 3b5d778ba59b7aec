//! Quotes by the attestation key, and credentials made for it.

use casemate_formats::{bundle::body::EkTemplate, digest::Digest, request::Credential};
use tss_esapi::{
    handles::AuthHandle,
    interface_types::{algorithm::HashingAlgorithm, session_handles::PolicySession},
    structures::{
        Data, Digest as TpmDigest, DigestList, EncryptedSecret, IdObject, Nonce, SignatureScheme,
    },
    traits::Marshall as _,
};
use zeroize::Zeroizing;

use super::{
    TpmError,
    error::INTEGRITY,
    owner::Owner,
    pcr,
    session::{Cover, Salted},
    template::{POLICY_A_SHA384, POLICY_C_SHA384},
};

/// PCRs of a quote: 0 to 15.
const QUOTED: u8 = 16;

/// A quote by the AK over PCRs 0 to 15 of the sha256 bank.
#[derive(Clone, Debug)]
pub struct Quote {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// PCR values 0 to 15, read around the quote and equal before and after.
    pub pcrs: Vec<Digest>,
}

impl Owner {
    /// Quotes PCRs 0 to 15.
    pub(super) fn quote(
        &mut self,
        session: Salted,
        extra_data: &Digest,
    ) -> Result<Quote, TpmError> {
        self.with_attestation_key(session, |owner, _, ak| {
            for _ in 0..3 {
                let before = owner.all_pcrs(session)?;
                let data = Data::from_bytes(&extra_data.0)?;
                let selection = pcr::selection(0..QUOTED)?;
                let (attest, signature) = owner
                    .command(&[session.covering(Cover::Both)], |context| {
                        context.quote(ak, data, SignatureScheme::Null, selection)
                    })?;
                if owner.all_pcrs(session)? == before {
                    return Ok(Quote {
                        attest: attest.marshall()?,
                        signature: signature.marshall()?,
                        pcrs: before[..usize::from(QUOTED)].to_vec(),
                    });
                }
            }
            Err(TpmError::Nonsense("PCRs that never stand still"))
        })
    }

    /// TPM2_ActivateCredential.
    pub(super) fn activate(
        &mut self,
        session: Salted,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let object = IdObject::from_bytes(sized(&credential.id_object)?)
            .map_err(|_| TpmError::ForeignCredential)?;
        let secret = EncryptedSecret::from_bytes(sized(&credential.secret)?)
            .map_err(|_| TpmError::ForeignCredential)?;
        // The policy session has the EK's name algorithm.
        let hash = match self.ek_template {
            EkTemplate::P256 => HashingAlgorithm::Sha256,
            EkTemplate::P384 => HashingAlgorithm::Sha384,
        };
        self.with_attestation_key(session, |owner, _, ak| {
            owner.policy(hash, |owner, policy| {
                owner.satisfy_endorsement(session, policy)?;
                let ek = owner.ek;
                let uses = [session.covering(Cover::Both), (policy.into(), Cover::Authorise)];
                let activated = owner
                    .command(&uses, |context| context.activate_credential(ak, ek, object, secret));
                match activated {
                    Ok(value) => Ok(Zeroizing::new(value.as_bytes().to_vec())),
                    Err(error) if error.is(INTEGRITY) || of_parameter_two(error) => {
                        Err(TpmError::ForeignCredential)
                    }
                    Err(error) => Err(error),
                }
            })
        })
    }

    /// PolicySecret(endorsement), and for H-3 PolicyOR(A, C).
    fn satisfy_endorsement(
        &mut self,
        session: Salted,
        policy: PolicySession,
    ) -> Result<(), TpmError> {
        self.command(&[session.covering(Cover::Both)], |context| {
            let (nonce, cp_hash, reference) =
                (Nonce::default(), TpmDigest::default(), Nonce::default());
            context.policy_secret(policy, AuthHandle::Endorsement, nonce, cp_hash, reference, None)
        })?;
        if matches!(self.ek_template, EkTemplate::P384) {
            let mut list = DigestList::new();
            list.add(TpmDigest::from_bytes(&POLICY_A_SHA384)?)?;
            list.add(TpmDigest::from_bytes(&POLICY_C_SHA384)?)?;
            self.command(&[session.covering(Cover::Audit)], |context| {
                context.policy_or(policy, list)
            })?;
        }
        Ok(())
    }
}

/// The inside of a TPM2B that is exactly these bytes.
fn sized(bytes: &[u8]) -> Result<&[u8], TpmError> {
    let (size, inside) = bytes.split_first_chunk::<2>().ok_or(TpmError::ForeignCredential)?;
    if usize::from(u16::from_be_bytes(*size)) == inside.len() {
        Ok(inside)
    } else {
        Err(TpmError::ForeignCredential)
    }
}

/// Any complaint about parameter 2: the seed was encrypted to another EK, or is no point at all.
fn of_parameter_two(error: TpmError) -> bool {
    matches!(error, TpmError::Response(code) if code & 0xfc0 == 0x2c0)
}
