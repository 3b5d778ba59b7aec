//! Sealing under PolicyPCR -> PolicyOR -> PolicyNV(counter <= label), and opening.

use casemate_formats::{digest::Digest, measure};
use tss_esapi::structures::PublicBuffer;
use tss_esapi::{
    handles::KeyHandle,
    interface_types::{
        ArithmeticComparison, algorithm::HashingAlgorithm, reserved_handles::NvAuth,
        session_handles::PolicySession,
    },
    structures::{
        Digest as TpmDigest, DigestList, Private, Public, Public::KeyedHash, SensitiveData,
    },
    traits::{Marshall as _, UnMarshall},
};
use zeroize::Zeroizing;

use super::{
    Counter, TpmError,
    error::{NV_UNINITIALIZED, POLICY_NV, POLICY_OR},
    owner::Owner,
    pcr,
    session::{Cover, Salted},
    template,
};

/// PCRs of a branch, in the order of `measure::branch`.
const PCRS: [u8; 4] = [7, 11, 12, 13];

/// A sealed object as it is stored: TPM2B_PUBLIC and TPM2B_PRIVATE, never a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
}

/// What must hold for a blob to open: PolicyOR of PCR branches, then PolicyNV(counter <= label).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// PolicyPCR digests in bundle order, 1 to 8 (`measure::branch`).
    pub branches: Vec<Digest>,
    /// Highest counter value at which it opens.
    pub label: u64,
}

impl Blob {
    /// Both areas, one behind the other; each has its size before it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.public.as_slice(), &self.private].concat()
    }

    /// What [`Self::encode`] wrote; `None`: not two sized areas and nothing else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let size = 2 + usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
        let (public, private) = bytes.split_at_checked(size)?;
        let size = 2 + usize::from(u16::from_be_bytes(*private.first_chunk()?));
        (private.len() == size).then(|| Self { public: public.to_vec(), private: private.to_vec() })
    }
}

impl SealPolicy {
    fn digest(&self) -> Result<Digest, TpmError> {
        measure::seal_policy(&self.branches, self.label, &Counter::Seal.name())
            .ok_or(TpmError::PolicyRefused("it has no branch, or more than eight"))
    }

    /// As PolicyOR takes them: two to eight, a single one doubled.
    fn or_list(&self) -> Result<DigestList, TpmError> {
        let mut list = DigestList::new();
        for branch in &self.branches {
            list.add(TpmDigest::from_bytes(&branch.0)?)?;
        }
        if let [single] = self.branches[..] {
            list.add(TpmDigest::from_bytes(&single.0)?)?;
        }
        Ok(list)
    }
}

impl Owner {
    /// Seals; what is returned was loaded once, so it is whole.
    pub(super) fn seal(
        &mut self,
        session: Salted,
        secret: &[u8],
        policy: &SealPolicy,
    ) -> Result<Blob, TpmError> {
        let expected = policy.digest()?;
        let template = template::sealed(&expected)?;
        let srk = self.storage_key(session)?;
        let secret = SensitiveData::from_bytes(secret)?;
        let made = self.command(&[session.covering(Cover::Both)], |context| {
            context.create(srk, template, None, Some(secret), None, None)
        })?;
        if !is_sealed_under(&made.out_public, &expected)? {
            return Err(TpmError::Nonsense("another policy than was asked for"));
        }
        let blob = Blob {
            public: PublicBuffer::try_from(made.out_public)?.marshall()?,
            private: made.out_private.marshall()?,
        };
        self.with_loaded(session, &blob, &expected, |_, _| Ok(()))?;
        Ok(blob)
    }

    /// Opens.
    pub(super) fn unseal(
        &mut self,
        session: Salted,
        blob: &Blob,
        policy: &SealPolicy,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let expected = policy.digest()?;
        let branches = policy.or_list()?;
        let label = policy.label;
        self.with_loaded(session, blob, &expected, |owner, object| {
            owner.policy(HashingAlgorithm::Sha256, |owner, satisfied| {
                owner.satisfy(session, satisfied, branches, label)?;
                let digest = owner.command(&[session.covering(Cover::Response)], |context| {
                    context.policy_get_digest(satisfied)
                })?;
                if digest.as_bytes() != expected.0 {
                    return Err(TpmError::PolicyRefused("the session has another digest"));
                }
                let uses =
                    [(satisfied.into(), Cover::Authorise), session.covering(Cover::Response)];
                let secret = owner.command(&uses, |context| context.unseal(object.into()))?;
                Ok(Zeroizing::new(secret.as_bytes().to_vec()))
            })
        })
    }

    /// The three commands that make the session's digest.
    fn satisfy(
        &mut self,
        session: Salted,
        policy: PolicySession,
        branches: DigestList,
        label: u64,
    ) -> Result<(), TpmError> {
        let selection = pcr::selection(PCRS)?;
        self.command(&[session.covering(Cover::Audit)], |context| {
            context.policy_pcr(policy, TpmDigest::default(), selection)
        })?;
        self.command(&[session.covering(Cover::Audit)], |context| {
            context.policy_or(policy, branches)
        })
        .map_err(|error| match error {
            e if e.is(POLICY_OR) => TpmError::PolicyRefused("no branch has the PCRs of now"),
            e => e,
        })?;
        let label = TpmDigest::from_bytes(&label.to_be_bytes())?;
        self.with_index(session, Counter::Seal.index(), |owner, handle| {
            owner
                .command(&[session.covering(Cover::Authorise)], |context| {
                    let comparison = ArithmeticComparison::UnsignedLe;
                    context.policy_nv(policy, NvAuth::NvIndex(handle), handle, label, 0, comparison)
                })
                .map_err(|error| match error {
                    e if e.is(POLICY_NV) => {
                        TpmError::PolicyRefused("the counter is beyond the label")
                    }
                    e if e.is(NV_UNINITIALIZED) => TpmError::NoCounter,
                    e => e,
                })
        })?
        .ok_or(TpmError::NoCounter)
    }

    fn with_loaded<T>(
        &mut self,
        session: Salted,
        blob: &Blob,
        expected: &Digest,
        work: impl FnOnce(&mut Self, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let public: PublicBuffer = whole(&blob.public)?;
        let public = Public::try_from(public).map_err(|_| TpmError::ForeignObject)?;
        let private: Private = whole(&blob.private)?;
        if !is_sealed_under(&public, expected)? {
            return Err(TpmError::PolicyRefused("the object was sealed under another one"));
        }
        let srk = self.storage_key(session)?;
        let object = self
            .command(&[session.covering(Cover::Both)], |context| context.load(srk, private, public))
            .map_err(
                |error| if is_of_a_parameter(error) { TpmError::ForeignObject } else { error },
            )?;
        self.with_object(object.into(), |owner| work(owner, object))
    }
}

/// Whether a public area is ours but for its unique part.
fn is_sealed_under(public: &Public, policy: &Digest) -> Result<bool, TpmError> {
    Ok(match (public, &template::sealed(policy)?) {
        (
            KeyedHash {
                object_attributes, name_hashing_algorithm, auth_policy, parameters, ..
            },
            KeyedHash {
                object_attributes: expected_attributes,
                name_hashing_algorithm: expected_hash,
                auth_policy: expected_policy,
                parameters: expected_parameters,
                ..
            },
        ) => {
            object_attributes == expected_attributes
                && name_hashing_algorithm == expected_hash
                && auth_policy == expected_policy
                && parameters == expected_parameters
        }
        _ => false,
    })
}

/// A structure that is exactly these bytes.
fn whole<T: UnMarshall>(bytes: &[u8]) -> Result<T, TpmError> {
    let mut offset = 0;
    let value = T::unmarshall_offset(bytes, &mut offset).map_err(|_| TpmError::ForeignObject)?;
    if offset == bytes.len() { Ok(value) } else { Err(TpmError::ForeignObject) }
}

/// A format-one response code about a parameter (Part 2, 6.6.3: bit 7 set, bit 6 set), as a changed
/// or foreign private area gives: TPM_RC_INTEGRITY, TPM_RC_SIZE, TPM_RC_BINDING.
fn is_of_a_parameter(error: TpmError) -> bool {
    matches!(error, TpmError::Response(code) if code & !0xfff == 0 && code & 0xc0 == 0xc0)
}
