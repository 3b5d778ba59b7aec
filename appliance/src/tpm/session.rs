//! Sessions, and the one place where commands are issued.
//!
//! Every command that takes or gives parameters runs under an HMAC session salted to the endorsement
//! key, so that whoever listens on the bus learns nothing, and whoever changes a byte is noticed.
//! ESYS drops a session's encryption attributes after any error of the TPM (tpm2-tss 4.1.3), so they
//! are set anew before *every* command, and nobody but [`Owner::command`] calls the context.

use casemate_formats::bundle::body::EkTemplate;
use tss_esapi::{
    Context,
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{ObjectHandle, SessionHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        session_handles::{AuthSession, PolicySession},
    },
    structures::SymmetricDefinition,
};

use super::{TpmError, error::BAD_AUTH, owner::Owner};
use crate::pulse;

/// How often a fresh session may fail its probe. The TSS's ECDH drops leading zeros of the shared
/// secret (1 of 256 sessions); eight in a row is somebody who does not know the salt.
const PROBES: usize = 8;

/// What a session does for a command: which parameter it encrypts. The TPM refuses a session that
/// encrypts what a command does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// First command and first response parameter.
    Both,
    /// First command parameter only.
    Command,
    /// First response parameter only.
    Response,
    /// Neither: it authorises and authenticates.
    Authorise,
    /// Neither, and it authorises nothing: it authenticates command and response.
    Audit,
}

/// A session and what it does for one command.
pub(super) type Use = (AuthSession, Cover);

/// A salted HMAC session; made by [`Owner::session`] alone, which ends it too.
#[derive(Clone, Copy)]
pub(super) struct Salted(AuthSession);

impl Salted {
    /// This session, encrypting what `cover` says.
    pub(super) fn covering(self, cover: Cover) -> Use {
        (self.0, cover)
    }
}

impl Owner {
    /// Issues one command under these sessions.
    pub(super) fn command<T>(
        &mut self,
        uses: &[Use],
        command: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        for (session, cover) in uses {
            if matches!(session, AuthSession::Password) {
                continue;
            }
            let (attributes, mask) = SessionAttributesBuilder::new()
                .with_continue_session(true)
                .with_decrypt(matches!(cover, Cover::Both | Cover::Command))
                .with_encrypt(matches!(cover, Cover::Both | Cover::Response))
                .with_audit(matches!(cover, Cover::Audit))
                .with_audit_exclusive(false)
                .with_audit_reset(false)
                .build();
            self.context.tr_sess_set_attributes(*session, attributes, mask)?;
        }
        pulse::TPM.beat();
        let nth = |n: usize| uses.get(n).map(|(session, _)| *session);
        Ok(self.context.execute_with_sessions((nth(0), nth(1), nth(2)), command)?)
    }

    /// Does `work` under a session salted to the endorsement key. One that has served without a refusal
    /// serves the next job too: a salt costs two multiplications on the curve, which is most of a job's
    /// time. After any refusal it ends, and the next job starts another.
    pub(super) fn session<T>(
        &mut self,
        work: impl FnOnce(&mut Self, Salted) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = match self.kept.take() {
            Some(session) => session,
            None => self.start_probed()?,
        };
        let result = work(self, session);
        self.kept = Some(session);
        if result.is_err() {
            self.end_session();
        }
        result
    }

    /// Ends the session that is kept between jobs, if there is one.
    pub(super) fn end_session(&mut self) {
        if let Some(session) = self.kept.take() {
            self.flush(SessionHandle::from(session.0).into());
        }
    }

    /// Does `work` with an unsalted policy session of this hash, and ends it. It authorises and
    /// never encrypts: a salted session stands beside it in every command that carries anything.
    pub(super) fn policy<T>(
        &mut self,
        hash: HashingAlgorithm,
        work: impl FnOnce(&mut Self, PolicySession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = self
            .command(&[], |context| {
                context.start_auth_session(
                    None,
                    None,
                    None,
                    SessionType::Policy,
                    SymmetricDefinition::AES_128_CFB,
                    hash,
                )
            })?
            .ok_or(TpmError::Nonsense("no session handle"))?;
        let result = PolicySession::try_from(session)
            .map_err(TpmError::from)
            .and_then(|policy| work(self, policy));
        self.flush(SessionHandle::from(session).into());
        result
    }

    /// Does `work` with a transient object, and flushes it.
    pub(super) fn with_object<T>(
        &mut self,
        object: ObjectHandle,
        work: impl FnOnce(&mut Self) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let result = work(self);
        self.flush(object);
        result
    }

    /// Flushes an object or session. A TPM that no longer answers has nothing to flush.
    pub(super) fn flush(&mut self, handle: ObjectHandle) {
        let _ = self.command(&[], |context| context.flush_context(handle));
    }

    fn start_probed(&mut self) -> Result<Salted, TpmError> {
        let mut last = TpmError::Response(BAD_AUTH);
        for _ in 0..PROBES {
            let session = Salted(self.start_salted()?);
            match self
                .command(&[session.covering(Cover::Response)], |context| context.get_random(1))
            {
                Ok(_) => return Ok(session),
                Err(error) => {
                    self.flush(SessionHandle::from(session.0).into());
                    // Any other answer than a wrong HMAC is not the fault that a retry heals.
                    if !wrong_session_key(error) {
                        return Err(error);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn start_salted(&mut self) -> Result<AuthSession, TpmError> {
        // The profile of L-2 requires AES-128 of a TPM, that of H-3 AES-256.
        let symmetric = match self.ek_template {
            EkTemplate::P256 => SymmetricDefinition::AES_128_CFB,
            EkTemplate::P384 => SymmetricDefinition::AES_256_CFB,
        };
        let ek = self.ek;
        self.command(&[], |context| {
            context.start_auth_session(
                Some(ek),
                None,
                None,
                SessionType::Hmac,
                symmetric,
                HashingAlgorithm::Sha256,
            )
        })?
        .ok_or(TpmError::Nonsense("no session handle"))
    }
}

/// TPM_RC_AUTH_FAIL (0x8e) or TPM_RC_BAD_AUTH (0xa2) of a session.
fn wrong_session_key(error: TpmError) -> bool {
    matches!(error, TpmError::Response(code) if code & 0x8ff == 0x8a2 || code & 0x8ff == 0x88e)
}
