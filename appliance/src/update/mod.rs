//! The change of a box's image: a new one into the other ESP, tried once, committed once it has
//! answered, left behind otherwise. What is done in which order is decided in `casemate_core::update`;
//! here it is done.
//!
//! One thread, the keeper, may write the ESPs and the firmware's variables. It is started while PID 1
//! has all its rights; everybody else asks it.

mod esp;
mod firmware;
mod keeper;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use bytes::Bytes;
use casemate_core::{
    phase::{Phase, Reason},
    update::Boot,
};
use casemate_formats::{
    api, bundle::body::Image, code::Code, digest::Digest, efi::boot_entry::Esp,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    platform::efi::Variables,
    state::{Blocks, State, TrialSector},
};

/// How long an image may be on trial before the box goes back (design, section 11).
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Parts of a body that wait for the disk: hyper gives some 16 KiB each, so memory stays small.
const PARTS: usize = 16;

/// What the keeper works on.
pub struct Medium {
    /// ESP A and B.
    pub esps: [Arc<dyn Blocks>; 2],
    /// Where the trial sector is.
    pub state: Arc<State>,
    /// Gives the firmware's variables. Asking stops every processor for a while, so it is put off.
    pub variables: Box<dyn Fn() -> io::Result<Variables> + Send>,
    /// Starts the machine again, and says why.
    pub restart: Box<dyn Fn(&str) + Send>,
}

/// What this boot is to the keeper.
#[derive(Clone, Debug)]
pub struct Start {
    /// By the trial sector.
    pub boot: Boot,
    /// The running image.
    pub image: Digest,
    /// What the bundle in force lists; none: there is no bundle.
    pub listed: Vec<Image>,
    /// How long a trial waits to be answered.
    pub patience: Duration,
    /// A certificate of the site that this machine's db has not yet.
    pub db: Option<DbChange>,
    /// PCR 7 values that the bundle in force lists for this host.
    pub pcr7: Vec<Digest>,
}

/// What is to become of the machine's db (design, section 5: the anchors carry it, signed by KEK).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbChange {
    /// The signed update.
    pub update: Vec<u8>,
    /// PCR 7 at every start after it.
    pub pcr7: Digest,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// Nothing.
    None,
    /// An image comes in.
    Receiving(Digest),
    /// The machine starts the other image now.
    Armed(Digest),
    /// The running image is on trial.
    Trial,
    /// The running ESP goes over the other one.
    Copying,
}

/// What the keeper is asked for.
enum Job {
    Take {
        announced: Digest,
        body: mpsc::Receiver<Bytes>,
        done: oneshot::Sender<Result<Esp, Code>>,
    },
    Arm {
        image: Digest,
        done: oneshot::Sender<Result<(), Code>>,
    },
    Commit {
        done: oneshot::Sender<Result<(), Code>>,
    },
    /// The hash of the ESP that the firmware starts first, where it is not the running one.
    First {
        done: oneshot::Sender<Option<Digest>>,
    },
    /// The bundle in force lists these from now on.
    Listed(Vec<Image>),
    /// And these PCR 7 values for this host.
    Pcr7(Vec<Digest>),
    /// Nothing is under way any more.
    Free,
    Restart,
}

/// The way to the keeper. Clones share it.
#[derive(Clone)]
pub struct Updates(Arc<Shared>);

struct Shared {
    jobs: SyncSender<Job>,
    under: Mutex<Under>,
    /// Beside [`Under::Trial`], because it is asked at every request.
    trial: AtomicBool,
    committing: AtomicBool,
    running: Mutex<Option<Esp>>,
    start: Start,
}

/// An image on its way in: parts go in here; dropped early, the image is cut.
pub struct Transfer {
    /// Where the parts go.
    pub parts: mpsc::Sender<Bytes>,
    /// How it ended: the other ESP holds it, read back; or why not.
    pub taken: oneshot::Receiver<Result<Esp, Code>>,
    /// Held until what has come in is armed or given up.
    pub claim: Claim,
}

/// The one place for an image on its way. Dropped, it makes room for the next, unless the image was
/// armed meanwhile. Nobody else makes room: who did so for an image of before would let two be written
/// over each other, and the wrong one be armed.
pub struct Claim(Updates);

impl Drop for Claim {
    fn drop(&mut self) {
        {
            let mut under = self.0.0.under();
            if !matches!(*under, Under::Receiving(_)) {
                return;
            }
            *under = Under::None;
        }
        // What had to wait for it is done now; a keeper that is busy looks by itself.
        let _ = self.0.0.send(Job::Free);
    }
}

/// What this boot is, noted in the trial sector before anything can go wrong: an image is tried once.
/// One that could not be noted as tried would be tried again and again; it is not on trial at all.
#[must_use]
pub fn begin(state: &State, running: Digest) -> Boot {
    let sector = state.trial().unwrap_or(TrialSector::IDLE);
    let (boot, note) = Boot::of(sector, running);
    let noted = note.is_none_or(|note| state.write_trial(&note).is_ok());
    if boot == Boot::Trial && !noted { Boot::Settled } else { boot }
}

/// Whether an image on trial may go on in this phase: its root is open, or this host keeps none.
#[must_use]
pub fn may_stay(phase: Phase) -> bool {
    matches!(phase, Phase::Operational | Phase::Locked(Reason::NotSealed))
}

impl Updates {
    /// Starts the keeper.
    ///
    /// # Errors
    /// No thread.
    pub fn start(medium: Medium, start: Start) -> io::Result<Self> {
        let (jobs, queue) = std::sync::mpsc::sync_channel(4);
        let trial = start.boot == Boot::Trial;
        let shared = Arc::new(Shared {
            jobs,
            under: Mutex::new(if trial { Under::Trial } else { Under::None }),
            trial: AtomicBool::new(trial),
            committing: AtomicBool::new(false),
            running: Mutex::new(None),
            start,
        });
        keeper::start(medium, Arc::clone(&shared), queue)?;
        Ok(Self(shared))
    }

    /// Whether the running image is on trial.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.0.trial.load(Ordering::Relaxed)
    }

    /// The image that was tried before this boot and did not stay.
    #[must_use]
    pub fn went_back(&self) -> Option<Digest> {
        match self.0.start.boot {
            Boot::WentBack(image) => Some(image),
            _ => None,
        }
    }

    /// For `/v1/status`.
    #[must_use]
    pub fn status(&self) -> api::UpdateStatus {
        let (state, image) = match (*self.0.under(), self.went_back()) {
            (Under::Receiving(image), _) => ("receiving", Some(image)),
            (Under::Armed(image), _) => ("armed", Some(image)),
            (Under::Trial, _) => ("trial", Some(self.0.start.image)),
            (Under::Copying, _) => ("copying", None),
            (Under::None, Some(image)) => ("failed", Some(image)),
            (Under::None, None) => ("none", None),
        };
        let esp = *self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let esp = esp.map(|esp| esp.letter().to_owned());
        api::UpdateStatus { state: state.to_owned(), image, esp }
    }

    /// Begins to take an image whose ESP has this hash; one at a time.
    ///
    /// # Errors
    /// `trial`, `update-in-progress`.
    pub fn take(&self, image: &Image) -> Result<Transfer, Code> {
        let (parts, body) = mpsc::channel(PARTS);
        let (done, taken) = oneshot::channel();
        let mut under = self.0.under();
        match *under {
            Under::None => {}
            Under::Trial => return Err(Code::Trial),
            Under::Receiving(_) | Under::Armed(_) | Under::Copying => {
                return Err(Code::UpdateInProgress);
            }
        }
        self.0.send(Job::Take { announced: image.esp, body, done })?;
        *under = Under::Receiving(image.pcr11);
        drop(under);
        Ok(Transfer { parts, taken, claim: Claim(self.clone()) })
    }

    /// Has the firmware start the image that was taken under this claim, once. Durable when it returns;
    /// blocks.
    ///
    /// # Errors
    /// `boot-variables`, `internal`: nothing was armed, or the firmware forgot it.
    pub fn arm(&self, _claim: &Claim, image: Digest) -> Result<(), Code> {
        let (done, armed) = oneshot::channel();
        self.0.send(Job::Arm { image, done })?;
        armed.blocking_recv().unwrap_or(Err(Code::Internal))
    }

    /// Starts the machine again: what was armed is tried.
    pub fn restart(&self) {
        // A keeper that is busy or gone: what was armed is tried at the next start.
        let _ = self.0.send(Job::Restart);
    }

    /// Keeps the running image: claims the commit for the caller, who is the first to ask. `None`: there
    /// is no trial, or somebody else's commit is under way.
    #[must_use]
    pub fn commit(&self) -> Option<oneshot::Receiver<Result<(), Code>>> {
        if !self.on_trial() || self.0.committing.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (done, committed) = oneshot::channel();
        if self.0.send(Job::Commit { done }).is_err() {
            self.0.committing.store(false, Ordering::Relaxed);
            return None;
        }
        Some(committed)
    }

    /// The hash of the ESP that the firmware starts first, if that is not the running one. Blocks.
    /// While an image is coming in or copied the running one is first.
    ///
    /// # Errors
    /// `update-in-progress`, `internal`: the keeper cannot be asked, and what is not asked is not known.
    pub fn first_but_running(&self) -> Result<Option<Digest>, Code> {
        let (done, first) = oneshot::channel();
        {
            // Asked under the lock: an image that comes now queues behind, and whoever sends it slowly
            // does not keep a bundle waiting.
            let under = self.0.under();
            if !matches!(*under, Under::None | Under::Trial) {
                return Ok(None);
            }
            self.0.send(Job::First { done })?;
        }
        first.blocking_recv().map_err(|_| Code::Internal)
    }

    /// The bundle in force lists these: where the other ESP holds another image, the running one goes
    /// over it.
    pub fn listed(&self, images: Vec<Image>) {
        // Lost when the keeper is busy: it looks again later in each boot.
        let _ = self.0.send(Job::Listed(images));
    }
}

impl Updates {
    /// The bundle in force lists these PCR 7 values for this host: a db that waited for one is written.
    pub fn pcr7(&self, values: Vec<Digest>) {
        if self.0.start.db.is_some() {
            // Lost when the keeper is busy: the next boot looks again.
            let _ = self.0.send(Job::Pcr7(values));
        }
    }
}

impl Shared {
    fn under(&self) -> MutexGuard<'_, Under> {
        self.under.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, job: Job) -> Result<(), Code> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Code::UpdateInProgress,
            TrySendError::Disconnected(_) => Code::Internal,
        })
    }
}
