//! The TPM: the only room that knows tss-esapi. One thread owns the ESYS context; everybody else
//! holds a [`Tpm`] and sends it jobs. All sessions are HMAC, salted to the endorsement key, with
//! parameters encrypted both ways.

use casemate_formats::{
    bundle::body::EkTemplate,
    digest::{Digest, Name},
    request::Credential,
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A handle to the owner thread. Calls block until the TPM has answered (async callers use
/// `spawn_blocking`); cloning is cheap.
#[derive(Clone)]
pub struct Tpm {}

/// Which NV counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Labels of sealed blobs (design, section 6).
    Seal,
    /// Ticks of the audit log (section 10).
    Tick,
}

/// Public identity of this TPM: the same at every boot and after a clear.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Template the EK was made from.
    pub ek_template: EkTemplate,
    /// TPMT_PUBLIC of the EK.
    pub ek_public: Vec<u8>,
    /// Name of the EK.
    pub ek: Name,
    /// DER certificate, where NV has one.
    pub ek_certificate: Option<Vec<u8>>,
    /// TPMT_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// Name of the AK.
    pub ak: Name,
}

/// A sealed object as it is stored: TPM2B_PUBLIC and TPM2B_PRIVATE, never a context.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// Why the TPM did not do it. No secret, no input inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// No TPM 2.0 answers.
    #[error("no TPM 2.0 answers")]
    Absent,
    /// The sha256 bank is missing or has not all 24 PCRs.
    #[error("the TPM has no complete sha256 PCR bank")]
    NoSha256Bank,
    /// The blob is not this TPM's (TPM_RC_INTEGRITY at Load).
    #[error("the sealed object was not made by this TPM")]
    ForeignObject,
    /// The policy does not hold now; nothing was sent to Unseal.
    #[error("the sealing policy does not hold: {0}")]
    PolicyRefused(&'static str),
    /// The owner hierarchy has an authorisation that is not ours.
    #[error("the owner hierarchy has a foreign authorisation")]
    ForeignOwner,
    /// The credential was made for another EK or AK.
    #[error("the credential was made for another TPM or key")]
    ForeignCredential,
    /// The TPM answered something else: its response code.
    #[error("TPM response code {0:#x}")]
    Response(u32),
    /// The owner thread is gone.
    #[error("the TPM's thread has ended")]
    Gone,
}

impl Tpm {
    /// Connects (`device:/dev/tpmrm0`, `swtpm:path=…`), makes EK, AK and SRK from their templates.
    ///
    /// # Errors
    /// [`TpmError::Absent`], [`TpmError::NoSha256Bank`], [`TpmError::ForeignOwner`].
    pub fn open(tcti: &str, template: Option<EkTemplate>) -> Result<Self, TpmError> {
        let _ = (tcti, template);
        todo!()
    }

    /// Who this TPM is (under the EK template chosen now).
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        todo!()
    }

    /// Random bytes through an encrypted session, at most 64.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let _ = bytes;
        todo!()
    }

    /// All 24 PCRs of the sha256 bank.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn pcrs(&self) -> Result<[Digest; 24], TpmError> {
        todo!()
    }

    /// Extends a PCR with the SHA-256 of a word (no NUL), in every active bank.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn extend(&self, pcr: u8, word: &str) -> Result<(), TpmError> {
        let _ = (pcr, word);
        todo!()
    }

    /// Seals at most 128 bytes. Checks its own output's policy digest before it returns.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn seal(&self, secret: Zeroizing<Vec<u8>>, policy: &SealPolicy) -> Result<Blob, TpmError> {
        let _ = (secret, policy);
        todo!()
    }

    /// Opens a blob. `pcrs` chosen by the TPM's present state; the session's policy digest is compared
    /// with the blob's before Unseal is sent.
    ///
    /// # Errors
    /// [`TpmError::ForeignObject`], [`TpmError::PolicyRefused`], any other.
    pub fn unseal(&self, blob: &Blob, policy: &SealPolicy) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let _ = (blob, policy);
        todo!()
    }

    /// Value of a counter; `None`: not defined, or never incremented.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn counter(&self, counter: Counter) -> Result<Option<u64>, TpmError> {
        let _ = counter;
        todo!()
    }

    /// Defines a counter that is missing (and increments it once, so that it can be read).
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn define_counter(&self, counter: Counter) -> Result<u64, TpmError> {
        let _ = counter;
        todo!()
    }

    /// Increments once; the new value.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn increment(&self, counter: Counter) -> Result<u64, TpmError> {
        let _ = counter;
        todo!()
    }

    /// Quotes PCRs 0 to 15 with this extraData.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn quote(&self, extra_data: &Digest) -> Result<Quote, TpmError> {
        let _ = extra_data;
        todo!()
    }

    /// TPM2_ActivateCredential: the secret inside.
    ///
    /// # Errors
    /// [`TpmError::ForeignCredential`], any other.
    pub fn activate(&self, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let _ = credential;
        todo!()
    }

    /// TPM_PT_LOCKOUT_COUNTER, read without the cache: must stay 0.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn lockout_counter(&self) -> Result<u32, TpmError> {
        todo!()
    }

    /// Handles of transient objects and loaded sessions now (for the test of leaks).
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn open_handles(&self) -> Result<usize, TpmError> {
        todo!()
    }
}
