//! The one thread that owns the ESYS context (it is `Send`, but not thread safe), its queue, and the
//! two objects that stay loaded: endorsement key and storage root key. With a sealed object they
//! fill the three transient slots of a TPM, so everything else is flushed at once.

use std::{
    hint::black_box,
    str::FromStr as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use casemate_formats::bundle::body::EkTemplate;
use tss_esapi::{
    Context, TctiNameConf,
    handles::KeyHandle,
    interface_types::{reserved_handles::Hierarchy, session_handles::AuthSession},
};
use zeroize::Zeroize as _;

use super::{
    TpmError,
    error::BAD_AUTH,
    session::{Cover, Salted},
    template,
};
use crate::pulse;

/// Jobs that may wait. Callers block beyond that; the server admits far fewer at once.
const QUEUE: usize = 8;

/// Bytes of stack that are overwritten after a job with secrets: the frames of the TSS held copies of
/// parameters. Its structures have at most 2 KiB each, and its calls are some ten deep.
const SCRUBBED_STACK: usize = 48 * 1024;

type Job = Box<dyn FnOnce(&mut Owner) + Send>;

/// What the owner thread has.
pub(super) struct Owner {
    pub(super) context: Context,
    pub(super) ek: KeyHandle,
    pub(super) ek_template: EkTemplate,
    pub(super) ek_public: tss_esapi::structures::Public,
    srk: Option<KeyHandle>,
    /// The salted session that the next job goes on with.
    pub(super) kept: Option<Salted>,
}

/// The sending end: the thread ends when it is dropped.
pub(super) struct Thread {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread; the context is made, used and ended there.
    pub(super) fn start<T: Send + 'static>(
        tcti: &str,
        template: Option<EkTemplate>,
        first: impl FnOnce(&mut Owner) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<(Self, T), TpmError> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let (opened, result) = sync_channel(1);
        let tcti = tcti.to_owned();
        let thread = Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                pulse::TPM.beat();
                let owner = Owner::open(&tcti, template)
                    .and_then(|mut owner| first(&mut owner).map(|value| (owner, value)));
                match owner {
                    Ok((owner, value)) => {
                        let _ = opened.send(Ok(value));
                        serve(owner, &queue);
                    }
                    Err(error) => {
                        pulse::TPM.rest();
                        let _ = opened.send(Err(error));
                    }
                }
            })
            .map_err(|_| TpmError::Gone)?;
        let this = Self { jobs: Some(jobs), thread: Some(thread) };
        let value = result.recv().map_err(|_| TpmError::Gone)??;
        Ok((this, value))
    }

    /// Runs a job on the owner thread and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Owner) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (done, result) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(TpmError::Gone)?;
        pulse::TPM.waits();
        jobs.send(Box::new(move |owner| {
            let _ = done.send(job(owner));
        }))
        .map_err(|_| TpmError::Gone)?;
        result.recv().map_err(|_| TpmError::Gone)?
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut owner: Owner, queue: &Receiver<Job>) {
    pulse::TPM.rest();
    while let Ok(job) = queue.recv() {
        job(&mut owner);
        pulse::TPM.rest();
    }
}

impl Owner {
    fn open(tcti: &str, template: Option<EkTemplate>) -> Result<Self, TpmError> {
        let config = TctiNameConf::from_str(tcti).map_err(|_| TpmError::Absent)?;
        let mut context = Context::new(config).map_err(|_| TpmError::Absent)?;
        let wanted = match template {
            Some(template) => template,
            None if super::identity::has_p384_certificate(&mut context) => EkTemplate::P384,
            None => EkTemplate::P256,
        };
        let (template, (ek, ek_public)) = match endorsement_key(&mut context, wanted) {
            // A certificate for a curve that the TPM does not have: nobody asked for this template.
            Err(TpmError::Response(_)) if template.is_none() && wanted == EkTemplate::P384 => {
                (EkTemplate::P256, endorsement_key(&mut context, EkTemplate::P256)?)
            }
            made => (wanted, made?),
        };
        Ok(Self { context, ek, ek_template: template, ek_public, srk: None, kept: None })
    }

    /// Uses the endorsement key of another template from now on.
    pub(super) fn use_template(&mut self, template: EkTemplate) -> Result<(), TpmError> {
        if template != self.ek_template {
            self.end_session();
            self.flush(self.ek.into());
            (self.ek, self.ek_public) = endorsement_key(&mut self.context, template)?;
            self.ek_template = template;
        }
        Ok(())
    }

    /// The storage root key, made on first use and kept for this boot.
    pub(super) fn storage_key(&mut self, session: Salted) -> Result<KeyHandle, TpmError> {
        if let Some(srk) = self.srk {
            return Ok(srk);
        }
        let public = template::storage()?;
        let srk = self
            .command(&[session.covering(Cover::Both)], |context| {
                context.create_primary(Hierarchy::Owner, public, None, None, None, None)
            })
            // The session has just been probed, so what is wrong is the hierarchy's authorisation.
            .map_err(|error| if error.is(BAD_AUTH) { TpmError::ForeignOwner } else { error })?;
        self.srk = Some(srk.key_handle);
        Ok(srk.key_handle)
    }

    /// Overwrites what a job with secrets left: the TSS's command buffer with a longer public answer, the
    /// stack of this thread with zeroes. What is on the C heap was overwritten by the wrapper.
    pub(super) fn scrub(&mut self) {
        let _ = self.read_pcrs(None, 0);
        scrub_stack();
    }
}

/// Makes the endorsement key. Nothing protects this command: that its answer is this TPM's shows
/// when the bundle lists the Name computed from it, and when a session salted to it works.
fn endorsement_key(
    context: &mut Context,
    template: EkTemplate,
) -> Result<(KeyHandle, tss_esapi::structures::Public), TpmError> {
    let public = template::endorsement(template)?;
    let made = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Endorsement, public, None, None, None, None)
        })
        .map_err(TpmError::from)
        .map_err(|error| if error.is(BAD_AUTH) { TpmError::ForeignOwner } else { error })?;
    Ok((made.key_handle, made.out_public))
}

#[inline(never)]
#[allow(clippy::large_stack_arrays)] // overwriting the stack is what it is for
fn scrub_stack() {
    let mut stack = [0xa5_u8; SCRUBBED_STACK];
    black_box(&mut stack).zeroize();
}
