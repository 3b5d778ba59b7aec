//! The keeper's thread: does the steps of every plan, one job at a time, and looks after a trial's end
//! by itself.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use casemate_core::update::{Boot, Standing, Step};
use casemate_formats::{
    bundle::body::Image,
    code::Code,
    digest::Digest,
    efi::{
        boot_entry::Esp,
        variable::{self, Variable},
    },
    state::TrialSector,
};
use tokio::sync::mpsc;

use super::{
    DbChange, Job, Medium, Shared, Under,
    esp::{self, FillError, Filling},
    firmware,
};
use crate::{
    platform::console::{Word, say},
    state::Blocks,
};

/// When the firmware is asked what it starts: not while the box comes up.
const LATER: Duration = Duration::from_secs(10);
/// When both ESPs are read and hashed: nobody waits for that.
const MUCH_LATER: Duration = Duration::from_secs(60);
/// Buffers of 256 KiB are on the heap.
const STACK_BYTES: usize = 256 * 1024;

pub(super) fn start(medium: Medium, shared: Arc<Shared>, jobs: Receiver<Job>) -> io::Result<()> {
    let listed = shared.start.listed.clone();
    let (db, pcr7) = (shared.start.db.clone(), shared.start.pcr7.clone());
    let keeper =
        Keeper { medium, shared, listed, standing: None, due: false, first: None, db, pcr7 };
    let builder = thread::Builder::new().name("update".into()).stack_size(STACK_BYTES);
    builder.spawn(move || keeper.run(&jobs)).map(drop)
}

struct Keeper {
    medium: Medium,
    shared: Arc<Shared>,
    /// Images of the bundle in force.
    listed: Vec<Image>,
    /// Once the firmware was asked.
    standing: Option<Standing>,
    /// What db is to become, until it is.
    db: Option<DbChange>,
    /// PCR 7 values that the bundle in force lists for this host.
    pcr7: Vec<Digest>,
    /// The bundle's images changed since both ESPs were looked at.
    due: bool,
    /// What [`Job::First`] answers, once it was found out.
    first: Option<Option<Digest>>,
}

impl Keeper {
    fn run(mut self, jobs: &Receiver<Job>) {
        let started = Instant::now();
        let trial_ends = started + self.shared.start.patience;
        let mut looks = [Some(started + LATER), Some(started + MUCH_LATER)];
        if !self.listed.is_empty() && !self.is_listed(self.shared.start.image) {
            self.rescue();
        }
        loop {
            let ends = self.shared.trial.load(Ordering::Relaxed).then_some(trial_ends);
            let next = looks.into_iter().flatten().chain(ends).min();
            let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
            match jobs.recv_timeout(wait.unwrap_or(MUCH_LATER)) {
                Ok(job) => self.do_job(job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if ends.is_some_and(|at| at <= now) && self.shared.trial.load(Ordering::Relaxed) {
                say(Word::Trial, "nobody was answered: back to the image of before");
                (self.medium.restart)("an image on trial was asked nothing");
                // On a machine this is not reached.
                return;
            }
            if looks[0].is_some_and(|at| at <= now) {
                looks[0] = None;
                self.look();
            } else if looks[1].is_some_and(|at| at <= now) {
                looks[1] = None;
                self.due = true;
            }
            if self.due && *self.shared.under() == Under::None {
                self.due = false;
                self.mend();
            }
        }
    }

    fn do_job(&mut self, job: Job) {
        match job {
            Job::Take { announced, body, done } => {
                let _ = done.send(self.take(&announced, body));
            }
            Job::Arm { image, done } => {
                let armed = self.arm(image);
                if armed.is_ok() {
                    *self.shared.under() = Under::Armed(image);
                }
                let _ = done.send(armed);
            }
            Job::Commit { done } => {
                let committed = self.commit();
                let _ = done.send(committed);
            }
            Job::First { done } => {
                let _ = done.send(self.first());
            }
            Job::Listed(images) => {
                self.listed = images;
                self.due = true;
            }
            Job::Pcr7(values) => {
                self.pcr7 = values;
                self.write_db();
            }
            Job::Free => {}
            Job::Restart => (self.medium.restart)("the other image is tried"),
        }
    }

    /// A box that is up asks its firmware, makes the entries, and finishes what a power cut left.
    fn look(&mut self) {
        match self.standing() {
            Ok(standing) => {
                let sector = self.medium.state.trial().unwrap_or(TrialSector::IDLE);
                let step = standing.settle(sector, self.shared.start.image);
                say(Word::Disk, format_args!("started from {}", standing.running.description()));
                let _ = self.carry_out(step.as_slice());
                self.write_db();
                if self.shared.start.boot == Boot::Copy {
                    self.due = true;
                }
            }
            Err(code) => say(Word::BootEntry, format_args!("none kept by this firmware: {code}")),
        }
    }

    fn take(&mut self, announced: &Digest, body: mpsc::Receiver<Bytes>) -> Result<Esp, Code> {
        let standing = self.standing()?;
        let other = standing.running.other();
        let place = other.description();
        say(Word::Update, format_args!("an image comes into {place}"));
        let mut body = Some(body);
        let mut taken = Ok(());
        for step in standing.take() {
            taken = match step {
                Step::Fill(esp) => {
                    body.take().map_or(Ok(()), |body| fill(self.esp(esp), announced, body))
                }
                step => self.carry_out(&[step]),
            };
            if taken.is_err() {
                break;
            }
        }
        match taken {
            Ok(()) => say(Word::Update, format_args!("{place} holds it, read back")),
            Err(code) => say(Word::Update, format_args!("{place} does not hold it: {code}")),
        }
        taken.map(|()| other)
    }

    fn arm(&mut self, image: Digest) -> Result<(), Code> {
        let steps = self.standing()?.arm(image);
        // The restart comes when the answer is on its way.
        let steps: Vec<Step> = steps.into_iter().filter(|step| *step != Step::Restart).collect();
        self.carry_out(&steps)
    }

    fn commit(&mut self) -> Result<(), Code> {
        let committed = self.standing().and_then(|standing| self.carry_out(&standing.commit()));
        match committed {
            Ok(()) => {
                *self.shared.under() = Under::None;
                self.shared.trial.store(false, Ordering::Relaxed);
                say(Word::Trial, "committed: this image is started from now on");
                self.write_db();
            }
            Err(code) => say(Word::Trial, format_args!("cannot be committed: {code}")),
        }
        self.shared.committing.store(false, Ordering::Relaxed);
        committed
    }

    /// The site's newest db certificate, once this image stays and the bundle lists the PCR 7 of the
    /// starts after it: otherwise the next start would open nothing.
    fn write_db(&mut self) {
        if self.shared.trial.load(Ordering::Relaxed) {
            return;
        }
        let Some(change) = &self.db else { return };
        if !self.pcr7.contains(&change.pcr7) {
            let pcr7 = change.pcr7;
            return say(
                Word::Enrolled,
                format_args!("db, not yet: list PCR 7 {pcr7} for this host"),
            );
        }
        let (name, vendor) = (Variable::Db.name(), Variable::Db.vendor());
        let written = (self.medium.variables)().and_then(|variables| {
            variables.write(name, vendor, variable::ATTRIBUTES, &change.update)
        });
        match written {
            Ok(()) => {
                say(
                    Word::Enrolled,
                    "db, with the site's newest certificate: another PCR 7 from the next start on",
                );
                self.db = None;
            }
            Err(error) => {
                say(Word::Enrolled, format_args!("db, not taken by the firmware: {error}"));
            }
        }
    }

    fn first(&mut self) -> Option<Digest> {
        if let Some(first) = self.first {
            return first;
        }
        // A firmware that does not say what it starts cannot be held to it.
        let standing = self.standing().ok()?;
        let other = standing.first().filter(|esp| *esp != standing.running);
        let first = match other.map(|esp| esp::hash(self.esp(esp))) {
            None => None,
            Some(Ok(hash)) => Some(hash),
            // What cannot be read is listed by nobody.
            Some(Err(_)) => Some(Digest::ZERO),
        };
        self.first = Some(first);
        first
    }

    /// The other ESP holds what is no longer listed, or nothing whole: the running one goes over it, if
    /// that is listed itself.
    fn mend(&mut self) {
        if self.listed.is_empty() {
            return;
        }
        let Ok(standing) = self.standing() else { return };
        let (running, other) = (standing.running, standing.running.other());
        if self.holds_listed(other).is_some() {
            return;
        }
        let Some(image) = self.holds_listed(running) else {
            return say(Word::Update, "the running ESP is not what the bundle lists: not copied");
        };
        if image.pcr11 != self.shared.start.image {
            return say(Word::Update, "the running ESP holds another image by now: not copied");
        }
        {
            let mut under = self.shared.under();
            if *under != Under::None {
                // An image has come in between.
                self.due = true;
                return;
            }
            *under = Under::Copying;
        }
        say(Word::Update, format_args!("{} is made what runs", other.description()));
        let mut copied = Ok(());
        for step in standing.copy() {
            copied = match step {
                Step::Fill(esp) => copy(self.esp(running), self.esp(esp), &image.esp),
                step => self.carry_out(&[step]),
            };
            if copied.is_err() {
                break;
            }
        }
        *self.shared.under() = Under::None;
        match copied {
            Ok(()) => say(Word::Update, format_args!("{} holds it", other.description())),
            Err(code) => say(Word::Update, format_args!("{}: {code}", other.description())),
        }
    }

    /// The running image is not listed, so it opens nothing: the other one, if that is, gets its turn.
    fn rescue(&mut self) {
        let Ok(standing) = self.standing() else { return };
        let Some(image) = self.holds_listed(standing.running.other()) else { return };
        let sector = self.medium.state.trial().unwrap_or(TrialSector::IDLE);
        if let Some(steps) = standing.rescue(sector, image.pcr11) {
            say(Word::Trial, "this image is not listed; the other ESP's is, and is started once");
            if self.carry_out(&steps).is_err() {
                say(Word::Trial, "the firmware did not take it");
            }
        }
    }

    fn standing(&mut self) -> Result<Standing, Code> {
        if let Some(standing) = &self.standing {
            return Ok(standing.clone());
        }
        let asked = (self.medium.variables)().and_then(|variables| firmware::standing(&variables));
        let standing = asked.ok().flatten().ok_or(Code::BootVariables)?;
        *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(standing.running);
        self.standing = Some(standing.clone());
        Ok(standing)
    }

    fn carry_out(&mut self, steps: &[Step]) -> Result<(), Code> {
        for step in steps {
            match step {
                Step::Order(order) => {
                    (self.medium.variables)()
                        .and_then(|variables| {
                            variables.set_boot_order(order)?;
                            // What the firmware does not keep is known now, not at the next start.
                            if variables.boot_order() == *order { Ok(()) } else { Err(lost()) }
                        })
                        .map_err(|_| Code::BootVariables)?;
                    if let Some(standing) = &mut self.standing {
                        standing.order.clone_from(order);
                    }
                    self.first = None;
                }
                Step::StartOnce(number) => (self.medium.variables)()
                    .and_then(|variables| variables.set_boot_next(*number))
                    .map_err(|_| Code::BootVariables)?,
                Step::Blank(esp) => {
                    self.first = None;
                    esp::blank(self.esp(*esp)).map_err(|_| Code::EspUnwritable)?;
                }
                Step::Note(sector) => {
                    self.medium.state.write_trial(sector).map_err(|_| Code::Internal)?;
                }
                // Filled by who has the content.
                Step::Fill(_) => return Err(Code::Internal),
                Step::Restart => (self.medium.restart)("the other image is tried"),
            }
        }
        Ok(())
    }

    fn holds_listed(&self, esp: Esp) -> Option<Image> {
        let found = esp::hash(self.esp(esp)).ok()?;
        self.listed.iter().find(|image| image.esp == found).cloned()
    }

    fn is_listed(&self, image: Digest) -> bool {
        self.listed.iter().any(|listed| listed.pcr11 == image)
    }

    fn esp(&self, esp: Esp) -> &dyn Blocks {
        let [a, b] = &self.medium.esps;
        match esp {
            Esp::A => a.as_ref(),
            Esp::B => b.as_ref(),
        }
    }
}

fn fill(esp: &dyn Blocks, announced: &Digest, mut body: mpsc::Receiver<Bytes>) -> Result<(), Code> {
    let mut filling = Filling::new(esp);
    while let Some(part) = body.blocking_recv() {
        filling.push(&part).map_err(|_| Code::EspUnwritable)?;
    }
    filling.finish(announced).map_err(code)
}

fn copy(from: &dyn Blocks, to: &dyn Blocks, announced: &Digest) -> Result<(), Code> {
    let mut filling = Filling::new(to);
    esp::pieces(from, |piece| filling.push(piece)).map_err(|_| Code::EspUnwritable)?;
    filling.finish(announced).map_err(code)
}

fn code(error: FillError) -> Code {
    match error {
        FillError::Cut => Code::ImageCut,
        FillError::Altered => Code::ImageAltered,
        FillError::Unwritable => Code::EspUnwritable,
    }
}

fn lost() -> io::Error {
    io::Error::other("the firmware keeps another order")
}
