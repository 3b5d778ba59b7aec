//! Carrying out a plan: seal, write the slot, raise the counter, in this order and each durable. A
//! power cut between any two leaves a blob that opens and a bundle that is in force.

use std::sync::Arc;

use casemate_core::{
    root::Sealed,
    slots::{self, NEW_LIFE, Plan},
};
use casemate_formats::{
    bundle::{Bundle, Verified, body::Host},
    digest::Digest,
    limits, measure,
};
use heapless::Vec as Bounded;

use super::{Entry, Life, LifeError};
use crate::{
    state::Slot,
    tpm::{Counter, SealPolicy, TpmError},
};

/// PolicyPCR digests of a host in bundle order: each image, with each of its PCR 7 values.
pub(super) fn branches(bundle: &Bundle, host: &Host) -> Bounded<Digest, { limits::BRANCHES }> {
    let pairs = bundle.images.iter().flat_map(|image| host.pcr7.iter().map(move |p| (image, p)));
    pairs
        .map(|(image, pcr7)| measure::branch(*pcr7, image.pcr11, Digest::ZERO, Digest::ZERO))
        // The bundle's check allows no more; what does not fit could not be opened.
        .take(limits::BRANCHES)
        .collect()
}

impl Life {
    /// Carries out `plan` for `verified`. `sealed` is the content of the blob, where the plan has one.
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        verified: &Arc<Verified>,
        host: &Host,
        sealed: Option<&Sealed>,
        counter: Option<u64>,
    ) -> Result<(), LifeError> {
        let counter = if plan.new_life { self.begin_life()? } else { counter.unwrap_or(0) };
        let mut entry = Entry {
            verified: Arc::clone(verified),
            write_number: plan.write_number,
            label: plan.label(counter),
            branches: Bounded::new(),
            blob: None,
            tried: slots::Blob::None,
        };
        if plan.blob {
            let sealed = sealed.ok_or(TpmError::PolicyRefused("there is nothing to seal"))?;
            let secret =
                sealed.encode().map_err(|_| TpmError::PolicyRefused("there is nothing to seal"))?;
            entry.branches = branches(verified.bundle(), host);
            let policy = SealPolicy { branches: entry.branches.to_vec(), label: entry.label };
            entry.blob = Some(self.tpm.seal(secret, &policy)?.encode());
            entry.tried = slots::Blob::Opened;
        }
        let slot = Slot {
            write_number: entry.write_number,
            label: entry.label,
            branches: entry.branches.clone(),
            bundle: verified.envelope().to_vec(),
            blob: entry.blob.clone(),
        };
        // From here on a failure leaves something behind that only a boot can tell.
        self.broken = true;
        self.state.write_slot(plan.slot, &slot)?;
        if let Some(goal) = plan.raise_to() {
            self.tpm.raise(Counter::Seal, goal)?;
        }
        self.entries[plan.slot] = Some(entry);
        self.broken = false;
        Ok(())
    }

    /// A new life: the counter passes every label that an earlier one may have left.
    fn begin_life(&self) -> Result<u64, TpmError> {
        let counter = self.tpm.define_counter(Counter::Seal)?;
        self.tpm.raise(Counter::Seal, counter.saturating_add(NEW_LIFE))
    }
}
