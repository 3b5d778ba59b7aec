//! The box, its disk, TPM and people, and what must hold after every step.

use std::collections::BTreeMap;

use casemate_appliance::life::Refused;
use casemate_core::phase::Phase;
use casemate_formats::{
    bundle::{
        Bundle,
        body::{Custodian, Next},
    },
    digest::Digest,
    genesis::Answer,
    share::{Message, seal::Contents, split},
};
use casemate_tests::{
    disk::TestDisk,
    life::{Boot, Measured, Rig, acknowledged, key, record},
    power::Cut,
    recovery::{Shares, envelope, message},
    swtpm::SoftTpm,
    tpm_proxy::TpmProxy,
};

use crate::{Flaw, Spoilt, Step};

const UNLISTED: Measured =
    Measured { secure_boot: b"the site's keys", sections: &[(".linux", b"another kernel")] };

/// One box, and what the people around it know.
pub struct World {
    /// Dropped first: its bus ends while its TPM's folder is there.
    on: Option<(Boot, TpmProxy)>,
    rig: Rig,
    pub measured: Measured,
    /// The next boot comes after three panics; this one did.
    panics: (bool, bool),
    trial: bool,
    /// The newest bundle that was taken.
    newest: Option<Bundle>,
    answers: Vec<(Answer, Bundle)>,
    /// What custodians keep, by fingerprint and split.
    shares: BTreeMap<(Digest, u32), Shares>,
    /// A key of each generation of each established root, once seen.
    keys: BTreeMap<(Digest, u32), [u8; 32]>,
    /// Whether something that is sealed may open at the next boot.
    may_open: bool,
    /// Another disk that this box had, and whether what is sealed there may still open.
    other: (TestDisk, bool),
    history: Vec<Step>,
}

impl World {
    pub fn new() -> Self {
        let rig = Rig::new().unwrap();
        let other = (rig.disk.copy(), false);
        let mut world = Self {
            on: None,
            rig,
            measured: Measured::LISTED,
            panics: (false, false),
            trial: false,
            newest: None,
            answers: Vec::new(),
            shares: BTreeMap::new(),
            keys: BTreeMap::new(),
            may_open: false,
            other,
            history: Vec::new(),
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        self.panics = (false, self.panics.0);
        self.trial = false;
        // The cut of before may fall into the boot itself: then it is booted once more.
        for _ in 0..2 {
            self.on = None;
            self.rig.power_cycle().unwrap();
            let bus = self.rig.bus().unwrap();
            let tpm = self.rig.enter(&bus.tcti(), self.measured);
            let boot =
                tpm.and_then(|tpm| Ok(self.rig.open_after(tpm, self.measured, self.panics.1)?));
            match boot {
                Ok(boot) => {
                    self.on = Some((boot, bus));
                    break;
                }
                Err(error) => assert!(self.rig.disk.power().is_off(), "{error}"),
            }
        }
        let phase = self.phase();
        if phase == Phase::Operational {
            assert!(self.may_open, "{:?}: it opened what should be closed", self.history);
            assert_eq!(self.measured.image(), Measured::LISTED.image());
        }
        self.invariants();
    }

    fn life(&mut self) -> &mut Boot {
        &mut self.on.as_mut().expect("it is on").0
    }

    fn phase(&self) -> Phase {
        self.on.as_ref().expect("it is on").0.life.phase()
    }

    fn in_force(&self) -> Option<Bundle> {
        let boot = &self.on.as_ref().expect("it is on").0;
        boot.life.bundle().map(|bundle| bundle.bundle().clone())
    }

    /// What holds at every moment.
    fn invariants(&mut self) {
        let (boot, _) = self.on.as_ref().expect("it is on");
        let open = boot.life.phase() == Phase::Operational;
        assert_eq!(boot.life.chain().is_some(), open, "{:?}: {}", self.history, boot.life.phase());
        if self.measured.image() != Measured::LISTED.image() {
            assert!(!open, "{:?}: an image that no bundle lists", self.history);
        }
        assert!(!(open && self.panics.1), "{:?}: after three panics", self.history);
        assert!(!(open && self.is_retired()), "{:?}: retired", self.history);
        assert_eq!(boot.tpm.lockout_counter().unwrap_or(0), 0);
        if !open {
            return;
        }
        let bundle = boot.life.bundle().expect("an open box has a bundle");
        let known = bundle.bundle().root.established.clone().expect("and a root");
        for generation in 1..=known.generation {
            let found = key(&boot.life, generation).expect("every generation opens");
            let kept = *self.keys.entry((known.fingerprint, generation)).or_insert(found);
            assert_eq!(kept, found, "{:?}: another root of generation {generation}", self.history);
        }
    }

    pub fn is_retired(&self) -> bool {
        self.in_force().is_some_and(|bundle| bundle.hosts[0].retired)
    }

    /// What the signers build on.
    fn base(&self) -> Bundle {
        let boot = &self.on.as_ref().expect("it is on").0;
        let Some(mut next) = self.newest.clone().or_else(|| self.in_force()) else {
            return self.rig.bundle(1, boot);
        };
        next.site.seq += 1;
        // Listed again: a box that was set up anew takes it, one that destroyed what it held does not.
        next.hosts[0].retired = false;
        next
    }

    /// The box gets a bundle that it may take.
    fn push(&mut self, bundle: Bundle) {
        let envelope = self.rig.site.sign(&bundle).unwrap();
        let (was_open, before) = (self.phase() == Phase::Operational, self.in_force());
        let retired = self.is_retired();
        match self.life().life.accept(&envelope) {
            Ok(_) => {
                assert!(!self.trial, "{:?}: while an image is on trial", self.history);
                assert!(!retired || bundle.hosts[0].retired, "{:?}: undone", self.history);
                assert_eq!(self.in_force().as_ref(), Some(&bundle));
                self.newest = Some(bundle);
                if self.phase() == Phase::Operational {
                    // The counter went on with the number: no other disk's blob is within its label.
                    self.other.1 = false;
                }
                self.sealed();
            }
            Err(refused) => self.unchanged(&refused, was_open, before.as_ref()),
        }
    }

    /// Something was kept, or destroyed, as the bundle in force has it.
    fn sealed(&mut self) {
        let keeps = self.in_force().is_some_and(|b| b.hosts[0].sealed && !b.hosts[0].retired);
        // A bundle that is taken by a closed box leaves what may live.
        self.may_open = keeps && (self.may_open || self.phase() == Phase::Operational);
        let boot = &self.on.as_ref().expect("it is on").0;
        // A pending first root is sealed as well; a bundle that names it opens it.
        self.may_open |= keeps && boot.life.chain().is_none() && !self.answers.is_empty();
    }

    fn unchanged(&self, refused: &Refused, was_open: bool, before: Option<&Bundle>) {
        if self.rig.disk.power().is_off() {
            return;
        }
        let now = self.phase() == Phase::Operational;
        assert_eq!(now, was_open, "{:?}: {} changed the phase", self.history, refused.code);
        assert_eq!(self.in_force().as_ref(), before, "{:?}: {}", self.history, refused.code);
    }

    fn bad(&mut self, flaw: Flaw) {
        let mut bundle = self.base();
        let mut signers: &[usize] = &[0, 1];
        let Some(in_force) = self.in_force() else { return };
        match flaw {
            Flaw::Lower if in_force.site.seq > 1 => bundle.site.seq = in_force.site.seq - 1,
            Flaw::Fork => {
                bundle.site.seq = in_force.site.seq;
                bundle.site.issued += 1_000;
            }
            Flaw::OneSigner => signers = &[1],
            Flaw::NotListed => bundle.hosts[0].pcr7[0] = Digest::ZERO,
            Flaw::RootDropped if in_force.root.established.is_some() => {
                bundle.root.established = None;
                bundle.root.next = None;
            }
            Flaw::MissingAck if bundle.root.established.is_some() => {
                bundle.root.established.as_mut().unwrap().acks.pop();
            }
            Flaw::OtherRoot if in_force.root.established.is_some() => {
                bundle.root.established.as_mut().unwrap().fingerprint = Digest::sha256(b"other");
            }
            _ => return,
        }
        let envelope = self.rig.site.sign_by(&bundle, signers).unwrap();
        let (was_open, writes) = (self.phase() == Phase::Operational, self.rig.disk.writes());
        let result = self.life().life.accept(&envelope);
        let refused = result.expect_err("a bad bundle was taken");
        self.unchanged(&refused, was_open, Some(&in_force));
        assert_eq!(self.rig.disk.writes(), writes, "{flaw:?} wrote");
    }

    fn genesis(&mut self) {
        let asking = self.in_force();
        if let Ok(answer) = self.life().life.genesis() {
            assert!(!self.trial && !self.panics.1, "{:?}: no time for a root", self.history);
            let kept = Shares::of(&self.rig.site, &answer).unwrap();
            self.shares.insert((answer.fingerprint, answer.split), kept);
            self.answers.push((answer, asking.expect("a bundle asked")));
            self.sealed();
        }
    }

    /// The bundle that names an answer, as the tools build it: only what follows the newest one.
    fn name(&mut self, back: usize) {
        let Some(at) = self.answers.len().checked_sub(1 + back) else { return };
        let (answer, asking) = self.answers[at].clone();
        let mut bundle = self.base();
        let known = bundle.root.established.clone();
        let newest = known.as_ref().map_or((0, 0), |known| (known.generation, bundle.root.split));
        let follows = (answer.generation, answer.split) > newest
            && answer.generation <= newest.0 + 1
            && (answer.generation > newest.0
                || known.as_ref().is_some_and(|k| k.fingerprint == answer.fingerprint));
        let chained = answer.wrapped.is_none()
            || asking.root.established.as_ref().map(|k| k.fingerprint)
                == known.as_ref().map(|k| k.fingerprint);
        if !follows || !chained {
            return;
        }
        let asked = asking.root.asked().unwrap();
        bundle.root.custodians = asked.custodians.iter().cloned().collect();
        (bundle.root.threshold, bundle.root.split) = (asked.threshold, answer.split);
        bundle.root.next = None;
        bundle.root.established =
            Some(acknowledged(&self.rig.site, &answer, known.as_ref()).unwrap());
        self.push(bundle);
    }

    fn ask(&mut self, root: bool) {
        let mut bundle = self.base();
        if bundle.root.established.is_none() {
            return;
        }
        let highest = self.answers.iter().map(|(answer, _)| answer.split).max().unwrap_or(1);
        let custodians: heapless::Vec<Custodian, 16> = bundle.root.custodians.clone();
        let split = highest.max(bundle.root.split) + 1;
        bundle.root.next = Some(Next { root, custodians, threshold: 2, split });
        self.push(bundle);
    }

    fn of_split_in_force(&self) -> Option<(Bundle, &Shares)> {
        let bundle = self.in_force()?;
        let known = bundle.root.established.as_ref()?;
        let shares = self.shares.get(&(known.fingerprint, bundle.root.split))?;
        Some((bundle, shares))
    }

    fn bring(&mut self, messages: &[Message], right: bool) {
        let (was_open, before) = (self.phase() == Phase::Operational, self.in_force());
        match self.life().life.take(messages) {
            Ok(taken) => {
                assert!(right || taken.entered.is_none(), "{:?}: spoilt shares", self.history);
                if taken.entered.is_some() || taken.pending {
                    self.sealed();
                }
            }
            Err(refused) => self.unchanged(&refused, was_open, before.as_ref()),
        }
        if !right && !self.rig.disk.power().is_off() {
            assert_eq!(self.phase() == Phase::Operational, was_open);
        }
    }

    fn two(&self) -> Option<(Bundle, Vec<Message>)> {
        let (bundle, shares) = self.of_split_in_force()?;
        let (boot, _) = self.on.as_ref()?;
        let seal = |who| message(boot, &bundle, &Contents::Share(shares.share(who)));
        let sealed = vec![seal(0), seal(2)];
        Some((bundle, sealed))
    }

    fn spoilt(&mut self, how: Spoilt) {
        let Some((bundle, mut two)) = self.two() else { return };
        let (boot, _) = self.on.as_ref().expect("it is on");
        match how {
            Spoilt::Once => two[1] = two[0].clone(),
            Spoilt::Flipped => two[1].sealed[60] ^= 2,
            Spoilt::OtherBoot => two[1].boot.0[3] ^= 1,
            Spoilt::OtherBundle => {
                let mut other = bundle.clone();
                other.site.seq += 1;
                let shares = self.of_split_in_force().expect("as before").1;
                two[1] = message(boot, &other, &Contents::Share(shares.share(2)));
                two[1].bundle = bundle.digest();
            }
            Spoilt::OtherRoot => {
                let asked = bundle.root.established_split().expect("a root");
                let shares = split::split(&[9; 32], &asked).unwrap();
                two = shares
                    .into_iter()
                    .map(|share| message(boot, &bundle, &Contents::Share(share)))
                    .collect();
            }
            Spoilt::ForgedEnvelope => {
                two = vec![message(boot, &bundle, &envelope(&[9; 32], Some(&[8; 32])))];
            }
        }
        // What an earlier step left here may be what was missing: then one of the two is right.
        let held = self.life().life.take(&[]).map_or(0, |taken| taken.held);
        self.bring(&two, held > 0 && !matches!(how, Spoilt::OtherRoot | Spoilt::ForgedEnvelope));
    }

    fn forwarded(&mut self, pending: bool) {
        let Some((bundle, shares)) = self.of_split_in_force() else { return };
        let root = split::combine(&[shares.share(0), shares.share(1)]).unwrap();
        let next = self.answers.iter().rev().find(|(answer, asking)| {
            answer.wrapped.is_some() && asking.root.established == bundle.root.established
        });
        let next = next.filter(|_| pending).map(|(answer, _)| {
            let shares = &self.shares[&(answer.fingerprint, answer.split)];
            split::combine(&[shares.share(0), shares.share(1)]).unwrap()
        });
        let (boot, _) = self.on.as_ref().expect("it is on");
        let sent = message(boot, &bundle, &envelope(&root, next.as_deref()));
        self.bring(&[sent], true);
    }

    pub fn step(&mut self, step: Step) {
        self.history.push(step);
        match step {
            Step::Next => {
                let next = self.base();
                self.push(next);
            }
            Step::AskRoot => self.ask(true),
            Step::AskSplit => self.ask(false),
            Step::Name => self.name(0),
            Step::NameFormer => self.name(1),
            Step::Unseal => {
                let mut bundle = self.base();
                bundle.hosts[0].sealed = !bundle.hosts[0].sealed;
                self.push(bundle);
            }
            Step::Retire => {
                let mut bundle = self.base();
                bundle.hosts[0].retired = true;
                self.push(bundle);
            }
            Step::Trial => {
                self.trial = !self.trial;
                let trial = self.trial;
                self.life().life.set_trial(trial);
            }
            Step::Bad(flaw) => self.bad(flaw),
            Step::Genesis => self.genesis(),
            Step::Shares => {
                if let Some((_, two)) = self.two() {
                    self.bring(&two, true);
                }
            }
            Step::BadShares(how) => self.spoilt(how),
            Step::Envelope { pending } => self.forwarded(pending),
            Step::Reboot => {
                self.other = (self.rig.disk.copy(), self.may_open);
                self.boot();
            }
            Step::Panics => {
                self.panics.0 = true;
                self.boot();
            }
            Step::RebootUnlisted => {
                self.measured = UNLISTED;
                self.boot();
            }
            Step::ClearTpm => {
                // swtpm serves one connection at a time.
                self.on = None;
                self.rig.soft.clear().unwrap();
                (self.may_open, self.other.1) = (false, false);
                self.measured = Measured::LISTED;
                self.boot();
            }
            Step::BlankDisk => {
                self.rig.disk = TestDisk::blank(4096);
                self.may_open = false;
                self.boot();
            }
            Step::OldDisk => {
                let now = (self.rig.disk.copy(), self.may_open);
                (self.rig.disk, self.may_open) = std::mem::replace(&mut self.other, now);
                self.boot();
            }
            Step::CutAfter(events) => {
                let power = self.rig.disk.power();
                power.cut_at(power.events().len() + usize::from(events), Cut::Lost);
                return;
            }
        }
        if self.rig.disk.power().is_off() {
            // What was under way may or may not have been done.
            self.may_open = !matches!(step, Step::ClearTpm | Step::BlankDisk);
            self.boot();
            let now = self.in_force();
            if now.as_ref().map(|b| b.site.seq) > self.newest.as_ref().map(|b| b.site.seq) {
                self.newest = now;
            }
        }
        self.invariants();
    }

    /// Whatever happened: the newest bundle and k shares of its split bring the root back.
    pub fn recover(mut self) {
        self.measured = Measured::LISTED;
        self.boot();
        let Some(newest) = self.newest.clone() else { return };
        if newest.root.established.is_none() {
            return;
        }
        let mut last = newest;
        last.site.seq += 1;
        (last.hosts[0].sealed, last.hosts[0].retired) = (true, false);
        let envelope = self.rig.site.sign(&last).unwrap();
        let (boot, _) = self.on.as_mut().expect("it is on");
        match boot.life.accept(&envelope) {
            Ok(_) => {}
            Err(refused) => {
                // It was asleep while the root changed, or is to be set up anew: its disk is flashed, as
                // the runbook says.
                let flashed = ["root-not-held", "retired"].contains(&refused.code.slug());
                assert!(flashed, "{:?}: {refused:?}", self.history);
                self.may_open = false;
                self.rig.disk = TestDisk::blank(4096);
                self.boot();
                self.life().life.accept(&envelope).unwrap();
            }
        }
        if self.phase() != Phase::Operational {
            let (_, two) = self.two().expect("custodians have every split that was named");
            let taken = self.life().life.take(&two);
            assert!(taken.is_ok(), "{:?}: {taken:?}", self.history);
        }
        assert_eq!(self.phase(), Phase::Operational, "{:?}: the root is lost", self.history);
        self.invariants();
        self.may_open = true;
        self.boot();
        assert_eq!(self.phase(), Phase::Operational, "{:?}: not sealed", self.history);
        // And on another machine, from nothing.
        self.on = None;
        (self.rig.disk, self.rig.soft) = (TestDisk::blank(4096), SoftTpm::blank().unwrap());
        self.may_open = false;
        self.boot();
        last.site.seq += 1;
        last.hosts = vec![record(self.life())];
        self.push(last);
        let (_, two) = self.two().expect("as before");
        self.bring(&two, true);
        assert_eq!(self.phase(), Phase::Operational, "{:?}: new hardware", self.history);
        self.invariants();
    }
}
