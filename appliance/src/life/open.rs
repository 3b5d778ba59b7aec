//! What a boot makes of the disk: bundles verified before the TPM's sealed object is touched, then a
//! blob opened and checked, then what an earlier boot left unfinished finished.

use std::sync::Arc;

use casemate_core::{
    phase::{Phase, Reason},
    root::{self, Sealed},
    slots::{self, SLOTS},
};
use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Verified,
        body::{EkTemplate, Host},
    },
    share::seal::BootKey,
};
use getrandom::{SysRng, rand_core::UnwrapErr};

use super::{Entry, Life, LifeError, Machine, Origin, Pending, roots};
use crate::{
    state::{Absent, State},
    tpm::{Blob, Counter, Identity, SealPolicy, Tpm, TpmError},
};

/// Why a blob is not the root.
enum NotOpened {
    /// For this reason, which holds as long as disk and TPM are what they are.
    Because(Reason),
    /// The TPM did not do it, for a reason that may have gone at the next boot.
    ForNow,
    /// The TPM does not answer.
    Failed(TpmError),
}

/// What came of trying what may live.
enum Tried {
    /// This slot's blob opened, and its content is its bundle's.
    Opened(usize, Sealed),
    /// None did; why the worst of them did not.
    Closed(Reason),
    /// Nothing may live.
    Nothing,
}

/// Whether a bundle lists this box as it runs: EK, AK, PCR 7 and image.
pub(super) fn listed<'a>(
    bundle: &'a Bundle,
    identity: &Identity,
    machine: &Machine,
) -> Result<&'a Host, &'static str> {
    let host = bundle.hosts.iter().find(|host| host.ek == identity.ek);
    let host = host.ok_or("its endorsement key")?;
    if host.ak != identity.ak {
        return Err("its attestation key");
    }
    if !host.pcr7.contains(&machine.pcr7) {
        return Err("its PCR 7");
    }
    if bundle.images.iter().all(|image| image.pcr11 != machine.image) {
        return Err("its running image");
    }
    Ok(host)
}

impl Life {
    /// Opens what the disk holds, as far as this boot may. Once it has returned, `leave-casemate` is
    /// extended, whatever the phase.
    ///
    /// # Errors
    /// TPM or disk do not answer at all. Everything else is a phase.
    pub fn open(
        tpm: Tpm,
        state: Arc<State>,
        anchors: Anchors,
        machine: Machine,
    ) -> Result<Self, LifeError> {
        let mut damaged = Vec::new();
        let mut entries = [const { None }; SLOTS];
        for (index, slot) in state.slots()?.into_iter().enumerate() {
            let slot = match slot {
                Ok(slot) => slot,
                Err(Absent::Empty) => continue,
                Err(absent) => {
                    damaged.push((index, absent.to_string()));
                    continue;
                }
            };
            match Verified::verify(&slot.bundle, &anchors) {
                Ok(verified) => {
                    entries[index] = Some(Entry {
                        verified: Arc::new(verified),
                        write_number: slot.write_number,
                        label: slot.label,
                        branches: slot.branches,
                        tried: match slot.blob {
                            Some(_) => slots::Blob::Untried,
                            None => slots::Blob::None,
                        },
                        blob: slot.blob,
                    });
                }
                Err(error) => damaged.push((index, error.code().slug().to_owned())),
            }
        }
        let mut life = Self {
            tpm,
            state,
            anchors,
            machine,
            boot_key: BootKey::generate(&mut UnwrapErr(SysRng)),
            entries,
            damaged,
            phase: Phase::Unprovisioned,
            origin: None,
            chain: None,
            pending: None,
            begin_log: None,
            shares: Default::default(),
            broken: false,
            trial: false,
            ask_first: None,
        };
        if let Some(verified) = life.bundle() {
            life.phase = life.open_under(&verified)?;
        }
        Ok(life)
    }

    fn open_under(&mut self, verified: &Arc<Verified>) -> Result<Phase, LifeError> {
        self.choose_template(verified.bundle())?;
        let Ok(host) = listed(verified.bundle(), &self.tpm.identity(), &self.machine) else {
            return Ok(Phase::Locked(Reason::NotListed));
        };
        if host.retired || !host.sealed {
            self.destroy()?;
        }
        let closed = [
            (host.retired, Reason::Retired),
            (self.machine.crash_loop, Reason::CrashLoop),
            (!host.sealed, Reason::NotSealed),
        ];
        if let Some((_, reason)) = closed.into_iter().find(|(is_so, _)| *is_so) {
            return Ok(Phase::Locked(reason));
        }
        let (index, sealed) = match self.first_that_opens()? {
            Tried::Opened(index, sealed) => (index, sealed),
            Tried::Closed(reason) => return Ok(Phase::Locked(reason)),
            Tried::Nothing => return Ok(Phase::Locked(self.why_locked()?)),
        };
        let generation = self.entries[index]
            .as_ref()
            .and_then(|entry| entry.bundle().root.established.as_ref())
            .map_or(0, |established| established.generation);
        // What was opened beside a root that has its fingerprint was sealed by who knew the root.
        let authentic = sealed.root.is_some();
        let pending = sealed.pending.map(|root| Pending { root, authentic });
        let held = match roots::choose(sealed.root, pending, generation, verified.bundle()) {
            Some(Ok(held)) => held,
            Some(Err(_)) | None => return Ok(Phase::Locked(Reason::RootChain)),
        };
        if let Some(goal) = self.view_now()?.finish() {
            self.tpm.raise(Counter::Seal, goal)?;
        }
        (self.chain, self.pending) = (held.chain, held.pending);
        let view = self.view_now()?;
        if let Some(plan) = view.reseal() {
            let sealed = self.content(verified);
            self.carry_out(&plan, verified, host, Some(&sealed), view.counter)?;
        }
        Ok(if self.chain.is_some() {
            self.origin = Some(Origin::Blob);
            Phase::Operational
        } else {
            Phase::Locked(Reason::NoRoot)
        })
    }

    /// What is at hand, as it is sealed under a bundle.
    pub(super) fn content(&self, verified: &Verified) -> Sealed {
        Sealed {
            seq: verified.bundle().site.seq,
            bundle: verified.digest(),
            root: self.chain.as_ref().map(|chain| chain.newest().expose_copy()),
            pending: self.pending.as_ref().map(|pending| pending.root.expose_copy()),
        }
    }

    /// Takes the other EK template where the bundle lists this TPM under that one.
    fn choose_template(&mut self, bundle: &Bundle) -> Result<(), TpmError> {
        let now = self.tpm.identity();
        let known = |ek| bundle.hosts.iter().any(|host| host.ek == ek);
        if known(now.ek.clone()) {
            return Ok(());
        }
        let other = match now.ek_template {
            EkTemplate::P256 => EkTemplate::P384,
            EkTemplate::P384 => EkTemplate::P256,
        };
        if bundle.hosts.iter().any(|host| host.ek_template == other)
            && !known(self.tpm.use_template(other)?.ek.clone())
        {
            self.tpm.use_template(now.ek_template)?;
        }
        Ok(())
    }

    /// Tries what may live, newest first.
    fn first_that_opens(&mut self) -> Result<Tried, LifeError> {
        let mut why = None;
        for index in self.view_now()?.candidates() {
            let Some(entry) = self.entries[index].as_ref() else { continue };
            let (tried, outcome) = match self.open_entry(entry) {
                Ok(sealed) => (slots::Blob::Opened, Some(sealed)),
                Err(NotOpened::Because(reason)) => {
                    // A blob that is somebody else's work outweighs one that merely does not open.
                    let worse = reason == Reason::ForeignBlob;
                    why = Some(if worse { reason } else { why.unwrap_or(reason) });
                    (slots::Blob::Failed, None)
                }
                Err(NotOpened::ForNow) => {
                    why = why.or(Some(Reason::DoesNotOpen));
                    (slots::Blob::Untried, None)
                }
                Err(NotOpened::Failed(error)) => return Err(error.into()),
            };
            if let Some(entry) = self.entries[index].as_mut() {
                entry.tried = tried;
            }
            if let Some(sealed) = outcome {
                return Ok(Tried::Opened(index, sealed));
            }
        }
        Ok(why.map_or(Tried::Nothing, Tried::Closed))
    }

    /// Opens one blob and compares its content with its bundle: a label is not authenticated by
    /// itself, and anybody can seal under an empty owner authorisation.
    fn open_entry(&self, entry: &Entry) -> Result<Sealed, NotOpened> {
        let not = |reason| NotOpened::Because(reason);
        let blob = entry.blob.as_deref().and_then(Blob::decode);
        let blob = blob.ok_or(not(Reason::DoesNotOpen))?;
        let policy = SealPolicy { branches: entry.branches.to_vec(), label: entry.label };
        let secret = self.tpm.unseal(&blob, &policy).map_err(|error| match error {
            TpmError::Absent | TpmError::Gone => NotOpened::Failed(error),
            TpmError::ForeignObject | TpmError::PolicyRefused(_) | TpmError::NoCounter => {
                not(Reason::DoesNotOpen)
            }
            _ => NotOpened::ForNow,
        })?;
        let foreign = not(Reason::ForeignBlob);
        let Ok(sealed) = Sealed::decode(&secret) else { return Err(foreign) };
        if sealed.seq != entry.seq() || sealed.bundle != entry.verified.digest() {
            return Err(foreign);
        }
        let bundle = entry.bundle();
        match (&sealed.root, &bundle.root.established) {
            (Some(root), Some(established)) => {
                let namespace = &bundle.site.namespace;
                let found = root::fingerprint(root, established.generation, namespace);
                if found == established.fingerprint { Ok(sealed) } else { Err(foreign) }
            }
            (None, None) => Ok(sealed),
            _ => Err(foreign),
        }
    }

    /// Why a box without an open root is locked.
    pub(super) fn why_locked(&self) -> Result<Reason, TpmError> {
        let view = self.view_now()?;
        let ever = self.entries.iter().flatten().any(|entry| entry.blob.is_some());
        let named = self.in_force().is_some_and(|entry| entry.bundle().root.established.is_some());
        Ok(if !view.candidates().is_empty() {
            Reason::DoesNotOpen
        } else if ever && named {
            Reason::NoLiveSlot
        } else {
            Reason::NoRoot
        })
    }
}
