//! The life of a box: the sole joiner of slots, seal and counter (`open`, `accept`, `genesis`,
//! `gather`, `forward`, `retire`). Boot and endpoints call it; so do `tests/host` and the crash tests. What to write is
//! decided in `casemate_core::slots`; here it is done, in that order, each step durable.

mod accept;
mod forward;
mod gather;
mod genesis;
mod keep;
mod open;
mod reach;
mod retire;
mod roots;

use std::sync::Arc;

use casemate_core::{
    phase::Phase,
    root::{Chain, Root},
    slots::{self, SLOTS},
};
use casemate_formats::{
    anchors::Anchors,
    bundle::{Bundle, Verified, body::Host},
    code::Code,
    digest::Digest,
    limits,
    share::seal::BootKey,
};
use heapless::Vec as Bounded;

pub use gather::{Brought, Taken, Untaken};

use crate::{
    state::{State, StateError},
    tpm::{Counter, Tpm, TpmError},
};

/// What this boot measured, as far as sealing depends on it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// PCR 11 after `enter-casemate`: the running image's id.
    pub image: Digest,
    /// PCR 7 now.
    pub pcr7: Digest,
    /// Three panics within ten minutes of boot: the root stays closed (`crash-loop`).
    pub crash_loop: bool,
}

/// How the root came to be open on this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A sealed blob of this host opened.
    Blob,
    /// It was made here and the bundle in force names it, or it was handed in.
    Fresh,
}

/// What became of an accepted bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the one in force already.
    Again,
    /// It is in force now; the root is as open as it was.
    InForce,
    /// It is in force and its root is open: this boot is Operational from now on.
    Entered,
    /// This host is retired: nothing is kept, the machine must reboot now.
    Retired,
}

/// Why a bundle or genesis was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the caller is told.
    pub code: Code,
    /// Number and digest of the bundle, where it was signed by enough of the anchors' signers.
    pub bundle: Option<(u64, Digest)>,
    /// What was expected and found; no secret.
    pub detail: Option<String>,
}

/// TPM or disk do not work at all: there is nothing to be said about this box's life.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The TPM's.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The disk's.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A slot whose checksum holds and whose bundle verified.
struct Entry {
    verified: Arc<Verified>,
    write_number: u64,
    label: u64,
    branches: Bounded<Digest, { limits::BRANCHES }>,
    blob: Option<Vec<u8>>,
    /// How the blob did on this boot.
    tried: slots::Blob,
}

/// A root that no bundle names yet.
struct Pending {
    root: Root,
    /// Made on this boot, or opened together with the root in force. What was opened alone may have
    /// been sealed by anybody (the owner authorisation is empty): it is taken when a bundle names
    /// its fingerprint, but never shared out again.
    authentic: bool,
}

/// Begins the audit log of a root, for the bundle that names it and this host in it, unless it runs.
/// The flag: the root came out of a blob of this disk.
pub type BeginLog = Box<dyn Fn(&Chain, &Bundle, &Host, bool) -> Result<(), Refused> + Send>;

/// The hash of the ESP that the firmware starts first, where that is not the running one. May block.
pub type AskFirst = Box<dyn Fn() -> Result<Option<Digest>, Code> + Send>;

/// Slots, seal and counter of one box.
pub struct Life {
    tpm: Tpm,
    state: Arc<State>,
    anchors: Anchors,
    machine: Machine,
    boot_key: BootKey,
    entries: [Option<Entry>; SLOTS],
    damaged: Vec<(usize, String)>,
    phase: Phase,
    origin: Option<Origin>,
    chain: Option<Arc<Chain>>,
    pending: Option<Pending>,
    begin_log: Option<BeginLog>,
    shares: gather::Shares,
    /// A slot was being written, or the counter raised, when disk or TPM failed: what stands there is
    /// known at the next boot.
    broken: bool,
    /// The running image is on trial, or another one is about to be: what is in force stays so.
    trial: bool,
    /// Asks what the firmware starts first.
    ask_first: Option<AskFirst>,
}

impl Life {
    /// Where this boot stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whom to call before a root that came in on this boot is kept. The log comes first: with the root
    /// in a blob and no log on the disk, a boot could not tell a power cut from a disk that somebody
    /// blanked, and would keep reads closed.
    pub fn before_keeping(&mut self, begin_log: BeginLog) {
        self.begin_log = Some(begin_log);
    }

    /// The bundle in force.
    #[must_use]
    pub fn bundle(&self) -> Option<Arc<Verified>> {
        self.in_force().map(|entry| Arc::clone(&entry.verified))
    }

    /// This box in it, by its endorsement key.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        let ek = &self.tpm.identity().ek;
        self.in_force()?.verified.bundle().hosts.iter().find(|host| host.ek == *ek)
    }

    /// How the root was opened, once it is.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// Every generation's root, once it is open.
    #[must_use]
    pub fn chain(&self) -> Option<Arc<Chain>> {
        self.chain.clone()
    }

    /// While an image is on trial nothing comes into force that the other one may not know.
    pub fn set_trial(&mut self, trial: bool) {
        self.trial = trial;
    }

    /// Whom to ask what the firmware starts first: a bundle must list it. Asked last, about bundles that
    /// enough signers signed for this box: a firmware is slow, and stops the machine while it answers.
    pub fn before_accepting(&mut self, ask: AskFirst) {
        self.ask_first = Some(ask);
    }

    /// HPKE public key (X25519) of this boot.
    #[must_use]
    pub fn hpke_key(&self) -> Digest {
        self.boot_key.public()
    }

    /// Slots that hold something that cannot be used, with the name of what is wrong (for the console).
    #[must_use]
    pub fn damaged(&self) -> &[(usize, String)] {
        &self.damaged
    }

    fn in_force(&self) -> Option<&Entry> {
        self.entries[self.view(None).in_force()?].as_ref()
    }

    /// The slots as the plans see them.
    fn view(&self, counter: Option<u64>) -> slots::View {
        let slots = self.entries.each_ref().map(|entry| {
            let entry = entry.as_ref()?;
            Some(slots::Slot {
                seq: entry.seq(),
                write_number: entry.write_number,
                digest: entry.verified.digest(),
                label: entry.label,
                blob: entry.tried,
            })
        });
        slots::View { slots, counter }
    }

    /// The slots, and the counter read now.
    fn view_now(&self) -> Result<slots::View, TpmError> {
        Ok(self.view(self.tpm.counter(Counter::Seal)?))
    }
}

impl Entry {
    fn bundle(&self) -> &Bundle {
        self.verified.bundle()
    }

    fn seq(&self) -> u64 {
        self.bundle().site.seq
    }
}

impl Refused {
    fn new(code: Code) -> Self {
        Self { code, bundle: None, detail: None }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<LifeError> for Refused {
    fn from(error: LifeError) -> Self {
        let code = match error {
            LifeError::Tpm(_) => Code::TpmUnavailable,
            LifeError::State(_) => Code::Internal,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<TpmError> for Refused {
    fn from(error: TpmError) -> Self {
        LifeError::from(error).into()
    }
}
