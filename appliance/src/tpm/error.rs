//! Why the TPM did not do it: response codes named once, nothing of a secret or an input inside.

use tss_esapi::{Error, ReturnCode};

/// Why the TPM did not do it. No secret, no input inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// No TPM 2.0 answers.
    #[error("no TPM 2.0 answers")]
    Absent,
    /// The sha256 bank is missing or has not all 24 PCRs.
    #[error("the TPM has no complete sha256 PCR bank")]
    NoSha256Bank,
    /// The blob is not this TPM's, not of this owner seed, or not a blob.
    #[error("the sealed object was not made by this TPM")]
    ForeignObject,
    /// The policy does not hold now; nothing was sent to Unseal.
    #[error("the sealing policy does not hold: {0}")]
    PolicyRefused(&'static str),
    /// The owner or endorsement hierarchy has an authorisation that is not ours.
    #[error("a hierarchy of the TPM has a foreign authorisation")]
    ForeignOwner,
    /// The endorsement key is not the expected one.
    #[error("the endorsement key is not the one that the bundle lists")]
    ForeignEndorsement,
    /// The credential was made for another EK or AK.
    #[error("the credential was made for another TPM or key")]
    ForeignCredential,
    /// The counter is not defined as ours is.
    #[error("the NV counter is missing")]
    NoCounter,
    /// The TPM answered what the specification does not allow.
    #[error("the TPM answered nonsense: {0}")]
    Nonsense(&'static str),
    /// The TPM or the TSS answered something else: its response code.
    #[error("TPM response code {0:#x}")]
    Response(u32),
    /// The owner thread is gone.
    #[error("the TPM's thread has ended")]
    Gone,
}

/// TPM_RC_AUTH_FAIL or BAD_AUTH of session 1: an authorisation or a session key is not what we hold.
pub(super) const BAD_AUTH: u32 = 0x9a2;
/// TPM_RC_HANDLE of handle 1: there is no such object.
pub(super) const NO_HANDLE: u32 = 0x18b;
/// TPM_RC_POLICY: the comparison of PolicyNV failed.
pub(super) const POLICY_NV: u32 = 0x126;
/// TPM_RC_NV_UNINITIALIZED: the counter was never incremented.
pub(super) const NV_UNINITIALIZED: u32 = 0x14a;
/// TPM_RC_VALUE of parameter 1: no branch of PolicyOR is the session's digest.
pub(super) const POLICY_OR: u32 = 0x1c4;
/// TPM_RC_INTEGRITY of parameter 1: a private blob or credential that is not for this key.
pub(super) const INTEGRITY: u32 = 0x1df;

impl From<Error> for TpmError {
    fn from(error: Error) -> Self {
        match error {
            Error::TssError(ReturnCode::Tcti(_)) => Self::Absent,
            Error::TssError(code) => Self::Response(code.into()),
            Error::WrapperError(_) => Self::Nonsense("a structure that the TSS does not know"),
        }
    }
}

impl TpmError {
    /// Whether this is the TPM's answer `code`.
    pub(super) fn is(self, code: u32) -> bool {
        self == Self::Response(code)
    }
}
