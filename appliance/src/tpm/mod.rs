//! The TPM: the only room that knows tss-esapi. One thread owns the ESYS context; everybody else
//! holds a [`Tpm`] and sends it jobs. All sessions are HMAC, salted to the endorsement key, with
//! parameters encrypted both ways.

mod counter;
mod error;
mod identity;
mod owner;
mod pcr;
mod quote;
mod seal;
mod session;
mod template;

use std::sync::{Arc, PoisonError, RwLock};

use casemate_formats::{
    bundle::body::EkTemplate,
    digest::{Digest, Name},
    request::Credential,
};
use tss_esapi::{
    constants::{CapabilityType, PropertyTag},
    structures::CapabilityData,
};
use zeroize::Zeroizing;

pub use self::{
    counter::Counter,
    error::TpmError,
    identity::Identity,
    quote::Quote,
    seal::{Blob, SealPolicy},
};
use self::{
    owner::{Owner, Thread},
    session::{Cover, Salted},
};

/// Bytes that may be sealed (design, section 6; the TPM takes no more under SHA-256).
pub const SEALED_BYTES: usize = 128;
/// Bytes of randomness a caller gets at once.
const RANDOM_BYTES: usize = 64;
/// Bytes that TPM2_GetRandom gives at once: every TPM gives a SHA-256 digest's size.
const A_RANDOM: usize = 32;
/// First handles of transient objects, loaded sessions (Part 2, 7.2).
const HANDLE_RANGES: [u32; 2] = [0x8000_0000, 0x0200_0000];

/// A handle to the owner thread. Calls block until the TPM has answered (async callers use
/// `spawn_blocking`); cloning is cheap.
#[derive(Clone)]
pub struct Tpm {
    inner: Arc<Inner>,
}

struct Inner {
    thread: Thread,
    identity: RwLock<Arc<Identity>>,
}

impl Tpm {
    /// Connects (`device:/dev/tpm0`, `swtpm:path=…`), makes EK and AK from their templates, checks
    /// the sha256 bank. Without `template`: P-384 when the TPM has the certificate for it.
    ///
    /// # Errors
    /// [`TpmError::Absent`], [`TpmError::NoSha256Bank`], [`TpmError::ForeignOwner`].
    pub fn open(tcti: &str, template: Option<EkTemplate>) -> Result<Self, TpmError> {
        let (thread, identity) = Thread::start(tcti, template, |owner| {
            owner.session(|owner, session| {
                owner.require_sha256_bank(session)?;
                owner.identify(session)
            })
        })?;
        let identity = RwLock::new(Arc::new(identity));
        Ok(Self { inner: Arc::new(Inner { thread, identity }) })
    }

    /// Who this TPM is (under the EK template in use).
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.inner.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Salts every session to the endorsement key of this template from now on.
    ///
    /// # Errors
    /// Any [`TpmError`]; the former stays in use.
    pub fn use_template(&self, template: EkTemplate) -> Result<Arc<Identity>, TpmError> {
        let before = self.identity();
        if before.ek_template == template {
            return Ok(before);
        }
        let identity = self.inner.thread.run(move |owner| {
            owner.use_template(template)?;
            owner.session(|owner, session| owner.identify(session)).inspect_err(|_| {
                let _ = owner.use_template(before.ek_template);
            })
        })?;
        let identity = Arc::new(identity);
        let mut shared = self.inner.identity.write().unwrap_or_else(PoisonError::into_inner);
        *shared = Arc::clone(&identity);
        Ok(identity)
    }

    /// Demands the endorsement key that a bundle lists: an EK's public area comes over the bus without
    /// protection, so nothing is believed before its Name is the listed one.
    ///
    /// # Errors
    /// [`TpmError::ForeignEndorsement`]: this TPM has another one; the former stays in use.
    pub fn expect_ek(&self, expected: &Name, template: EkTemplate) -> Result<(), TpmError> {
        let before = self.identity().ek_template;
        if self.use_template(template)?.ek == *expected {
            return Ok(());
        }
        self.use_template(before)?;
        Err(TpmError::ForeignEndorsement)
    }

    /// Random bytes through an encrypted session, at most 64.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.secret_job(move |owner, session| {
            let wanted = bytes.min(RANDOM_BYTES);
            let mut random = Zeroizing::new(Vec::with_capacity(RANDOM_BYTES + A_RANDOM));
            while random.len() < wanted {
                let some = owner.command(&[session.covering(Cover::Response)], |context| {
                    context.get_random(A_RANDOM)
                })?;
                if some.is_empty() {
                    return Err(TpmError::Nonsense("no random bytes"));
                }
                random.extend_from_slice(&some);
            }
            random.truncate(wanted);
            Ok(random)
        })
    }

    /// All 24 PCRs of the sha256 bank.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn pcrs(&self) -> Result<[Digest; 24], TpmError> {
        self.job(Owner::all_pcrs)
    }

    /// Extends a PCR with the digest of a word (no NUL), in every active bank.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn extend(&self, pcr: u8, word: &str) -> Result<(), TpmError> {
        let word = word.to_owned();
        self.job(move |owner, session| owner.extend(session, pcr, &word))
    }

    /// Seals at most [`SEALED_BYTES`]. What it returns has the asked policy and was loaded once.
    ///
    /// # Errors
    /// [`TpmError::ForeignOwner`], any other.
    pub fn seal(&self, secret: Zeroizing<Vec<u8>>, policy: &SealPolicy) -> Result<Blob, TpmError> {
        let policy = policy.clone();
        self.secret_job(move |owner, session| owner.seal(session, &secret, &policy))
    }

    /// Opens a blob. The TPM's PCRs of now choose the branch; the session's policy digest is compared
    /// with the blob's before Unseal is sent.
    ///
    /// # Errors
    /// [`TpmError::ForeignObject`], [`TpmError::PolicyRefused`], [`TpmError::NoCounter`],
    /// [`TpmError::ForeignOwner`], any other.
    pub fn unseal(&self, blob: &Blob, policy: &SealPolicy) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (blob, policy) = (blob.clone(), policy.clone());
        self.secret_job(move |owner, session| owner.unseal(session, &blob, &policy))
    }

    /// Value of a counter; `None`: not defined, or never incremented.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn counter(&self, counter: Counter) -> Result<Option<u64>, TpmError> {
        self.job(move |owner, session| owner.counter(session, counter))
    }

    /// Defines a counter that is missing (and increments it once, so that it can be read).
    ///
    /// # Errors
    /// [`TpmError::ForeignOwner`], any other.
    pub fn define_counter(&self, counter: Counter) -> Result<u64, TpmError> {
        self.job(move |owner, session| owner.define_counter(session, counter))
    }

    /// Increments once; the new value.
    ///
    /// # Errors
    /// [`TpmError::NoCounter`], any other.
    pub fn increment(&self, counter: Counter) -> Result<u64, TpmError> {
        self.job(move |owner, session| owner.increment(session, counter))
    }

    /// Increments until the counter is at least `to`; its value.
    ///
    /// # Errors
    /// [`TpmError::NoCounter`], any other.
    pub fn raise(&self, counter: Counter, to: u64) -> Result<u64, TpmError> {
        self.job(move |owner, session| owner.raise(session, counter, to))
    }

    /// Quotes PCRs 0 to 15 with this extraData.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn quote(&self, extra_data: &Digest) -> Result<Quote, TpmError> {
        let extra_data = *extra_data;
        self.job(move |owner, session| owner.quote(session, &extra_data))
    }

    /// TPM2_ActivateCredential: the secret inside.
    ///
    /// # Errors
    /// [`TpmError::ForeignCredential`], any other.
    pub fn activate(&self, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let credential = credential.clone();
        self.secret_job(move |owner, session| owner.activate(session, &credential))
    }

    /// TPM_PT_LOCKOUT_COUNTER, read without the library's cache: must stay 0.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn lockout_counter(&self) -> Result<u32, TpmError> {
        self.job(|owner, session| {
            let (data, _) = owner.command(&[session.covering(Cover::Audit)], |context| {
                let property = PropertyTag::LockoutCounter.into();
                context.get_capability(CapabilityType::TpmProperties, property, 1)
            })?;
            let CapabilityData::TpmProperties(properties) = data else {
                return Err(TpmError::Nonsense("another capability than asked for"));
            };
            properties
                .find(PropertyTag::LockoutCounter)
                .map(|property| property.value())
                .ok_or(TpmError::Nonsense("no lockout counter"))
        })
    }

    /// Transient objects and loaded sessions between two jobs (for the test of leaks). Ends the session
    /// that is kept for the next job, so what is left are the keys, or a leak.
    ///
    /// # Errors
    /// Any [`TpmError`].
    pub fn open_handles(&self) -> Result<usize, TpmError> {
        self.inner.thread.run(|owner| {
            owner.end_session();
            let mut open = 0;
            for first in HANDLE_RANGES {
                let (data, _) = owner.command(&[], |context| {
                    context.get_capability(CapabilityType::Handles, first, 64)
                })?;
                if let CapabilityData::Handles(handles) = data {
                    open += handles.into_inner().len();
                }
            }
            Ok(open)
        })
    }

    /// A job that gives or takes a secret: what it leaves in the library's buffers is overwritten.
    fn secret_job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Owner, Salted) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        self.inner.thread.run(move |owner| {
            let result = owner.session(work);
            owner.scrub();
            result
        })
    }

    /// A job under the salted session.
    fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Owner, Salted) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        self.inner.thread.run(move |owner| owner.session(work))
    }
}
