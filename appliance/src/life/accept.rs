//! Taking a bundle into force. Everything that can be wrong with it is found before anything is
//! written; then the plan is carried out; then it is answered.

use std::sync::Arc;

use casemate_core::{
    phase::{Phase, Reason},
    slots::{self, Accept, Keep},
};
use casemate_formats::{
    bundle::{Bundle, Verified, body::Host},
    code::Code,
};

use super::{Accepted, Life, Origin, Refused, open, roots::Held};

impl Life {
    /// Takes a bundle into force. Durable when it returns; a refusal changes nothing.
    ///
    /// # Errors
    /// Why not. After [`Code::TpmUnavailable`] or [`Code::Internal`] what stands on the disk is known
    /// at the next boot: either bundle may be in force then, and both open.
    pub fn accept(&mut self, envelope: &[u8]) -> Result<Accepted, Refused> {
        let verified = Verified::verify(envelope, &self.anchors)
            .map_err(|error| Refused::new(error.code()).detail(error.to_string()))?;
        let known = (verified.bundle().site.seq, verified.digest());
        self.accept_verified(&Arc::new(verified))
            .map_err(|refused| Refused { bundle: Some(known), ..refused })
    }

    fn accept_verified(&mut self, verified: &Arc<Verified>) -> Result<Accepted, Refused> {
        self.require_whole()?;
        let bundle = verified.bundle();
        let (seq, digest) = (bundle.site.seq, verified.digest());
        let view = self.view_now()?;
        // Number and fork come first: they need no look inside.
        if view.accept(seq, &digest, Keep::Destroy)? == Accept::InForce {
            return Ok(Accepted::Again);
        }
        self.require_no_trial()?;
        let host = open::listed(bundle, &self.tpm.identity(), &self.machine).map_err(|what| {
            Refused::new(Code::NotListed).detail(format!("the bundle does not list {what}"))
        })?;
        if self.host().is_some_and(|now| now.retired) && !host.retired {
            return Err(Code::Retired.into());
        }
        let held = self.hold(bundle)?;
        let keep = match &held {
            _ if host.retired || !host.sealed => Keep::Destroy,
            Held { chain: None, pending: None } => Keep::Leave,
            _ => Keep::Seal,
        };
        let Accept::Write(plan) = view.accept(seq, &digest, keep)? else {
            return Ok(Accepted::Again);
        };
        let first = self.ask_first.as_ref().map_or(Ok(None), |ask| ask())?;
        if first.is_some_and(|first| bundle.images.iter().all(|image| image.esp != first)) {
            return Err(Code::BootOrder.into());
        }
        // What is at hand from now on; put back when nothing was written.
        let before = (
            std::mem::replace(&mut self.chain, held.chain),
            std::mem::replace(&mut self.pending, held.pending),
        );
        let sealed = plan.blob.then(|| self.content(verified));
        let kept = self.log_begins(bundle, host).and_then(|()| {
            Ok(self.carry_out(&plan, verified, host, sealed.as_ref(), view.counter)?)
        });
        if let Err(refused) = kept {
            (self.chain, self.pending) = before;
            return Err(refused);
        }
        self.shares.keep_for(bundle.root_digest());
        if host.retired {
            self.shares.wipe();
            (self.chain, self.pending, self.origin) = (None, None, None);
            self.phase = Phase::Locked(Reason::Retired);
            return Ok(Accepted::Retired);
        }
        self.enter(host.sealed)
    }

    /// The phase under the bundle that has just come into force.
    fn enter(&mut self, sealed: bool) -> Result<Accepted, Refused> {
        if self.chain.is_some() {
            let entered = self.phase != Phase::Operational;
            self.phase = Phase::Operational;
            self.shares.wipe();
            self.origin.get_or_insert(Origin::Fresh);
            return Ok(if entered { Accepted::Entered } else { Accepted::InForce });
        }
        self.phase = match self.phase {
            // Nothing was tried on this boot, and nothing will be.
            _ if self.machine.crash_loop => Phase::Locked(Reason::CrashLoop),
            _ if !sealed => Phase::Locked(Reason::NotSealed),
            _ => Phase::Locked(self.why_locked()?),
        };
        Ok(Accepted::InForce)
    }

    /// The log of the root at hand runs from here on, before anything is kept.
    ///
    /// # Errors
    /// It does not begin: nothing is kept, and the caller may try again.
    pub(super) fn log_begins(&self, bundle: &Bundle, host: &Host) -> Result<(), Refused> {
        match (&self.chain, &self.begin_log) {
            (Some(chain), Some(begin)) if !host.retired => {
                begin(chain, bundle, host, self.origin == Some(Origin::Blob))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what would be in force under two images, of which one may not know it.
    pub(super) fn require_no_trial(&self) -> Result<(), Refused> {
        if self.trial { Err(Code::Trial.into()) } else { Ok(()) }
    }

    /// Refuses a root where there is none: beside a firmware that fails again and again it is one that is
    /// read out in the end, however this boot came to be closed.
    pub(super) fn require_calm(&self) -> Result<(), Refused> {
        if self.machine.crash_loop { Err(Code::CrashLoop.into()) } else { Ok(()) }
    }

    /// Refuses whatever would be built on a slot or counter that nobody has looked at since it failed.
    pub(super) fn require_whole(&self) -> Result<(), Refused> {
        if self.broken {
            let refused = Refused::new(Code::TpmUnavailable);
            return Err(refused.detail("disk or TPM failed while a bundle was written: reboot"));
        }
        Ok(())
    }
}

impl From<slots::Refused> for Refused {
    fn from(refused: slots::Refused) -> Self {
        let code = match refused {
            slots::Refused::SeqLower { .. } => Code::SeqLower,
            slots::Refused::SeqFork => Code::SeqFork,
            slots::Refused::SeqStep { .. } => Code::SeqStep,
        };
        Self::new(code).detail(refused.to_string())
    }
}
