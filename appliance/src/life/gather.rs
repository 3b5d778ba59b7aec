//! Taking the root in: k shares, or one envelope of a box that has it. Shares are held in RAM alone,
//! one of each custodian at most, until k open the root or the bundle's root section changes.

use std::sync::Arc;

use casemate_core::{
    phase::Phase,
    root::{self, Chain, Root},
};
use casemate_formats::{
    bundle::{
        Bundle, Verified,
        body::{Established, Host},
    },
    code::Code,
    digest::Digest,
    limits,
    share::{
        Message, Share,
        seal::{self, Binding, Contents},
        split,
    },
};
use heapless::Vec as Bounded;

use super::{Life, Origin, Pending, Refused, open, roots};

/// Shares of one root section. Wiped when dropped, each by itself.
#[derive(Default)]
pub(super) struct Shares {
    section: Option<Digest>,
    held: Bounded<Share, { limits::CUSTODIANS }>,
}

/// How a root came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// k custodians' shares.
    Shares,
    /// An envelope of another box.
    Forward,
}

/// What became of messages that were sent here.
#[derive(Debug)]
pub struct Taken {
    /// Shares held now.
    pub held: usize,
    /// How many open the root.
    pub needed: u8,
    /// Generation of the root in force.
    pub generation: u32,
    /// The root is open since now: how it came.
    pub entered: Option<Brought>,
    /// A pending root came in that was not at hand.
    pub pending: bool,
    /// Those that were not taken.
    pub refused: Vec<Untaken>,
}

/// A message that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Its place among those sent.
    pub index: usize,
    /// Of the share, where it opened.
    pub commitment: Option<Digest>,
    /// Why.
    pub code: Code,
}

/// What an envelope holds.
struct Envelope {
    root: Root,
    pending: Option<Root>,
}

impl Shares {
    /// Only shares of this root section stay.
    pub(super) fn keep_for(&mut self, section: Digest) {
        if self.section != Some(section) {
            *self = Self { section: Some(section), held: Bounded::new() };
        }
    }

    pub(super) fn wipe(&mut self) {
        self.held.clear();
    }

    fn add(&mut self, share: Share, established: &Established) -> Result<(), Code> {
        let place = usize::from(share.index()).checked_sub(1);
        let committed = place.and_then(|place| established.commitments.get(place));
        if committed != Some(&share.commitment()) {
            return Err(Code::WrongShare);
        }
        if self.held.iter().any(|held| held.index() == share.index()) {
            return Err(Code::RepeatedShare);
        }
        self.held.push(share).map_err(|_| Code::TooManyShares)
    }
}

impl Life {
    /// Takes custodians' shares, or the root that another box forwards. A message that does not fit is
    /// named and leaves the others as they are. With k shares, or a right envelope, the root is opened
    /// and checked, sealed where this host keeps it, and this boot is Operational. On an open box an
    /// envelope brings a pending root alone.
    ///
    /// # Errors
    /// This box takes no root now; or what was brought is not what the bundle says of its root. Shares
    /// are wiped then, and nothing is written. See also [`Life::accept`] for a TPM or disk that failed.
    pub fn take(&mut self, messages: &[Message]) -> Result<Taken, Refused> {
        self.require_whole()?;
        let verified = self.bundle().ok_or(Code::WrongPhase)?;
        let bundle = verified.bundle();
        let (host, established) = self.takes_root(bundle)?;
        if messages.len() > bundle.root.custodians.len() {
            return Err(Code::TooManyShares.into());
        }
        self.shares.keep_for(bundle.root_digest());
        let mut refused = Vec::new();
        let mut envelope = None;
        for (index, message) in messages.iter().enumerate() {
            let outcome = match self.open_message(message, &verified) {
                Ok(Contents::Share(share)) => {
                    let commitment = Some(share.commitment());
                    let kept = match self.chain {
                        Some(_) => Err(Code::WrongPhase),
                        None => self.shares.add(share, established),
                    };
                    kept.map_err(|code| (code, commitment))
                }
                Ok(Contents::Root { root, pending }) => {
                    let root = Root::from_random(root);
                    let pending = pending.map(Root::from_random);
                    if roots::is_newest(&root, established, bundle) {
                        envelope.get_or_insert(Envelope { root, pending });
                        Ok(())
                    } else {
                        Err((Code::WrongRoot, None))
                    }
                }
                Err(code) => Err((code, None)),
            };
            if let Err((code, commitment)) = outcome {
                refused.push(Untaken { index, commitment, code });
            }
        }
        let threshold = bundle.root.threshold;
        let mut taken = Taken {
            held: self.shares.held.len(),
            needed: threshold,
            generation: established.generation,
            entered: None,
            pending: false,
            refused,
        };
        if self.chain.is_some() {
            taken.pending = match envelope.and_then(|envelope| envelope.pending) {
                Some(pending) => self.take_pending(pending, &verified, host)?,
                None => false,
            };
            return Ok(taken);
        }
        let (brought, root, pending) = match envelope {
            Some(Envelope { root, pending }) => (Brought::Forward, root, pending),
            None if taken.held >= usize::from(threshold) => {
                let root = split::combine(&self.shares.held);
                self.shares.wipe();
                let root = root
                    .map_err(|error| Refused::new(Code::Inconsistent).detail(error.to_string()))?;
                (Brought::Shares, Root::from_random(root), None)
            }
            None => return Ok(taken),
        };
        taken.pending = pending.is_some();
        self.enter_with(root, pending, &verified, host, established)?;
        taken.held = 0;
        taken.entered = Some(brought);
        Ok(taken)
    }

    /// This box's record and the root, where the bundle in force lets this boot have it.
    fn takes_root<'a>(&self, bundle: &'a Bundle) -> Result<(&'a Host, &'a Established), Refused> {
        let host = open::listed(bundle, &self.tpm.identity(), &self.machine).map_err(|what| {
            Refused::new(Code::NotListed).detail(format!("the bundle does not list {what}"))
        })?;
        if host.retired {
            return Err(Code::Retired.into());
        }
        self.require_calm()?;
        Ok((host, bundle.root.established.as_ref().ok_or(Code::NoRoot)?))
    }

    /// What a message holds, once what it says of itself fits this boot.
    fn open_message(&self, message: &Message, verified: &Verified) -> Result<Contents, Code> {
        let bundle = verified.bundle();
        let digest = verified.digest();
        message.is_for(&self.boot_key.public(), bundle, &digest)?;
        let binding = Binding {
            namespace: &bundle.site.namespace,
            root_section: bundle.root_digest(),
            ek: &self.tpm.identity().ek,
            bundle: digest,
        };
        seal::open(&self.boot_key, &binding, &message.sealed).map_err(|_| Code::DamagedShare)
    }

    /// The root in force has come: opens the chain, holds the bundle to it, seals, enters.
    fn enter_with(
        &mut self,
        root: Root,
        pending: Option<Root>,
        verified: &Arc<Verified>,
        host: &Host,
        established: &Established,
    ) -> Result<(), Refused> {
        let bundle = verified.bundle();
        let chain = Chain::open(root, established, &bundle.site.namespace)
            .map_err(|error| Refused::new(Code::RootChain).detail(error.to_string()))?;
        roots::check(&bundle.root, &chain, bundle)?;
        // Whoever sent a pending root beside the one in force knew that one.
        let pending = pending.map(|root| Pending { root, authentic: true });
        let before = self.pending.take();
        (self.chain, self.pending) = (Some(Arc::new(chain)), pending);
        // The log first, where it can be: then no boot takes a cut here for a disk that was blanked.
        if let Err(refused) = self.log_begins(bundle, host).and_then(|()| self.keep(verified, host))
        {
            (self.chain, self.pending) = (None, before);
            return Err(refused);
        }
        self.shares.wipe();
        self.phase = Phase::Operational;
        self.origin = Some(Origin::Fresh);
        Ok(())
    }

    /// A pending root that another open box made; whether it was not at hand.
    fn take_pending(
        &mut self,
        root: Root,
        verified: &Arc<Verified>,
        host: &Host,
    ) -> Result<bool, Refused> {
        // By what may be known of them: roots themselves are never compared.
        let generation = self.chain.as_ref().map_or(0, |chain| chain.generation()) + 1;
        let namespace = &verified.bundle().site.namespace;
        let of = |root: &Root| root::fingerprint(root, generation, namespace);
        let same = |held: &Pending| of(&held.root) == of(&root);
        if self.pending.as_ref().is_some_and(|held| held.authentic && same(held)) {
            return Ok(false);
        }
        let before = self.pending.replace(Pending { root, authentic: true });
        if let Err(refused) = self.keep(verified, host) {
            self.pending = before;
            return Err(refused);
        }
        Ok(true)
    }

    /// Seals what is at hand anew under the bundle in force, where this host keeps anything.
    pub(super) fn keep(&mut self, verified: &Arc<Verified>, host: &Host) -> Result<(), Refused> {
        if !host.sealed {
            return Ok(());
        }
        let view = self.view_now()?;
        let plan = view.seal_again().ok_or(Code::WrongPhase)?;
        let sealed = self.content(verified);
        Ok(self.carry_out(&plan, verified, host, Some(&sealed), view.counter)?)
    }
}
