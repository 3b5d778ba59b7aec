//! Power cuts between any two steps of everything that changes slots or counter: before each command
//! on the TPM's bus and after the last one, and during each write to the disk, in six ways (one of
//! them: nothing is written, which is the cut after the command before it). The next boot always has
//! the right bundle and root, and the step can be done again.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::{
    life::{Accepted, Life},
    tpm::Counter,
};
use casemate_core::phase::{Phase, Reason};
use casemate_formats::{bundle::Bundle, genesis::Answer};
use casemate_tests::{
    disk,
    life::{Boot, Kept, Measured, Point, Rig, accept, acknowledged, establish, key},
    tpm_proxy,
};

/// A step that is cut short.
struct Step<'a> {
    name: &'static str,
    /// The box before it.
    before: Kept,
    /// The step on a box that has booted; `None`: the boot itself is the step.
    act: Option<&'a dyn Fn(&mut Life) -> bool>,
    /// What must hold at the next boot; whether the step was answered with success.
    check: &'a dyn Fn(&Rig, &mut Boot, bool),
}

impl Step<'_> {
    /// Cuts it at every point; how many there were.
    fn enumerate(&self, rig: &mut Rig) -> usize {
        let (answered, commands, writes) = self.run(rig, None);
        assert!(answered, "{}: without a cut it works", self.name);
        let before = (1..=commands).map(tpm_proxy::Cut::Before);
        let on_bus = before.chain([tpm_proxy::Cut::After(commands)]).map(Point::Tpm);
        let on_disk =
            (0..writes).flat_map(|write| disk::Cut::ALL.map(|cut| Point::Disk(write, cut)));
        let mut points = 0;
        for point in on_bus.chain(on_disk) {
            let (answered, ..) = self.run(rig, Some(point));
            let context = format!("{} cut at {point:?}, answered: {answered}", self.name);
            rig.power_cycle().unwrap();
            let mut boot = rig.boot().unwrap_or_else(|error| panic!("{context}: {error}"));
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (self.check)(rig, &mut boot, answered);
            }));
            assert!(checked.is_ok(), "{context}");
            assert_eq!(boot.tpm.lockout_counter(), Ok(0), "{context}");
            points += 1;
        }
        println!("{}: {points} crash points ({commands} commands, {writes} writes)", self.name);
        points
    }

    /// One run; whether it was answered, and how many commands and writes there were.
    fn run(&self, rig: &mut Rig, point: Option<Point>) -> (bool, usize, u64) {
        rig.restore(&self.before).unwrap();
        let bus = rig.bus().unwrap();
        let tpm = rig.enter(&bus.tcti(), Measured::LISTED).unwrap();
        let arm = |rig: &Rig| match point {
            None => bus.cut(None),
            Some(Point::Tpm(cut)) => bus.cut(Some(cut)),
            Some(Point::Disk(write, cut)) => rig.disk.cut_at(rig.disk.writes() + write, cut),
        };
        match self.act {
            None => {
                arm(rig);
                let first = rig.disk.writes();
                // The answer of a boot is that it came up.
                let answered = rig.open(tpm, Measured::LISTED).is_ok();
                (answered, bus.counted(), rig.disk.writes() - first)
            }
            Some(act) => {
                let mut boot = rig.open(tpm, Measured::LISTED).unwrap();
                arm(rig);
                let first = rig.disk.writes();
                let answered = act(&mut boot.life);
                (answered, bus.counted(), rig.disk.writes() - first)
            }
        }
    }
}

fn again(bundle: &Bundle) -> Bundle {
    let mut next = bundle.clone();
    next.site.seq += 1;
    next
}

fn seq(boot: &Boot) -> u64 {
    boot.life.bundle().map_or(0, |bundle| bundle.bundle().site.seq)
}

#[test]
fn the_first_accept() {
    let mut rig = Rig::new().unwrap();
    let boot = rig.boot().unwrap();
    let bundle = rig.bundle(1, &boot);
    drop(boot);
    let envelope = rig.site.sign(&bundle).unwrap();
    let step = Step {
        name: "first accept",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.accept(&envelope).is_ok()),
        check: &|rig, boot, answered| {
            match boot.life.phase() {
                Phase::Unprovisioned => assert!(!answered, "an accepted bundle is lost"),
                phase => assert_eq!(phase, Phase::Locked(Reason::NoRoot)),
            }
            accept(rig, boot, &bundle).unwrap();
            assert_eq!(seq(boot), 1);
        },
    };
    assert!(step.enumerate(&mut rig) > 8);
}

#[test]
fn an_accept_of_an_operational_box() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    drop(boot);
    let mut next = base.clone();
    next.site.seq += 5;
    let envelope = rig.site.sign(&next).unwrap();
    let step = Step {
        name: "accept",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.accept(&envelope).is_ok()),
        check: &|rig, boot, answered| {
            assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
            let now = seq(boot);
            assert!(now == 7 || (now == 2 && !answered), "bundle {now}");
            let counter = boot.tpm.counter(Counter::Seal).unwrap().unwrap();
            let expected = if now == 2 { Accepted::InForce } else { Accepted::Again };
            assert_eq!(accept(rig, boot, &next).unwrap(), expected);
            let raised = boot.tpm.counter(Counter::Seal).unwrap().unwrap() - counter;
            assert_eq!(raised, if now == 2 { 5 } else { 0 }, "the increments were finished");
        },
    };
    assert!(step.enumerate(&mut rig) > 25);
}

#[test]
fn genesis_of_the_first_root() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let bundle = rig.bundle(1, &boot);
    accept(&rig, &mut boot, &bundle).unwrap();
    drop(boot);
    let step = Step {
        name: "genesis",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.genesis().is_ok()),
        check: &|rig, boot, _| {
            assert_eq!((boot.life.phase(), seq(boot)), (Phase::Locked(Reason::NoRoot), 1));
            let answer = boot.life.genesis().unwrap();
            enter(rig, boot, &bundle, &answer);
        },
    };
    assert!(step.enumerate(&mut rig) > 160);
}

/// Accepts the bundle that names the root of `answer`.
fn enter(rig: &Rig, boot: &mut Boot, asking: &Bundle, answer: &Answer) {
    let mut named = again(asking);
    named.root.established = Some(acknowledged(&rig.site, answer, None).unwrap());
    assert_eq!(accept(rig, boot, &named).unwrap(), Accepted::Entered);
}

#[test]
fn the_accept_that_names_the_root() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let bundle = rig.bundle(1, &boot);
    accept(&rig, &mut boot, &bundle).unwrap();
    let answer = boot.life.genesis().unwrap();
    drop(boot);
    let mut named = again(&bundle);
    named.root.established = Some(acknowledged(&rig.site, &answer, None).unwrap());
    let envelope = rig.site.sign(&named).unwrap();
    let step = Step {
        name: "accept of the root",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.accept(&envelope).is_ok()),
        check: &|rig, boot, answered| {
            let expected = match boot.life.phase() {
                Phase::Operational => Accepted::Again,
                phase => {
                    assert!(!answered, "an accepted root is lost");
                    assert_eq!(phase, Phase::Locked(Reason::NoRoot));
                    Accepted::Entered
                }
            };
            assert_eq!(accept(rig, boot, &named).unwrap(), expected);
            assert!(key(&boot.life, 1).is_some());
        },
    };
    assert!(step.enumerate(&mut rig) > 18);
}

#[test]
fn genesis_and_accept_of_a_next_root() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    let mut asking = again(&base);
    asking.root.next = Some(casemate_formats::bundle::body::Next {
        root: true,
        custodians: asking.root.custodians.clone(),
        threshold: 2,
        split: 2,
    });
    accept(&rig, &mut boot, &asking).unwrap();
    drop(boot);
    let step = Step {
        name: "genesis of a next root",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.genesis().is_ok()),
        check: &|_, boot, _| {
            assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
            assert_eq!(seq(boot), 3);
            boot.life.genesis().unwrap();
        },
    };
    let mut points = step.enumerate(&mut rig);

    rig.restore(&step.before).unwrap();
    let mut boot = rig.boot().unwrap();
    let answer = boot.life.genesis().unwrap();
    drop(boot);
    let mut named = again(&asking);
    let before = base.root.established.as_ref();
    named.root.established = Some(acknowledged(&rig.site, &answer, before).unwrap());
    (named.root.next, named.root.split) = (None, 2);
    let envelope = rig.site.sign(&named).unwrap();
    let step = Step {
        name: "accept of a next root",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.accept(&envelope).is_ok()),
        check: &|rig, boot, answered| {
            assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
            assert!(seq(boot) == 4 || !answered);
            accept(rig, boot, &named).unwrap();
            assert!(key(&boot.life, 2).is_some());
            assert_eq!(key(&boot.life, 1), root);
        },
    };
    points += step.enumerate(&mut rig);
    assert!(points > 40);
}

#[test]
fn a_boot_that_seals_anew() {
    // The bundle in force was accepted while the root could not be opened; now it can.
    const FIRMWARE: Measured =
        Measured { secure_boot: b"after a firmware update", ..Measured::LISTED };
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_as(FIRMWARE).unwrap();
    let mut next = again(&base);
    next.hosts[0].pcr7.push(FIRMWARE.pcr7()).unwrap();
    accept(&rig, &mut boot, &next).unwrap();
    assert!(boot.life.chain().is_none());
    drop(boot);
    let step = Step {
        name: "boot that seals anew",
        before: rig.keep().unwrap(),
        act: None,
        check: &|_, boot, _| {
            assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
            assert_eq!(seq(boot), 3);
        },
    };
    assert!(step.enumerate(&mut rig) > 35);
}

#[test]
fn retirement() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    drop(boot);
    let mut retiring = again(&base);
    retiring.hosts[0].retired = true;
    let envelope = rig.site.sign(&retiring).unwrap();
    let step = Step {
        name: "retirement",
        before: rig.keep().unwrap(),
        act: Some(&|life| life.accept(&envelope).is_ok()),
        check: &|rig, boot, answered| {
            if boot.life.phase() == Phase::Operational {
                assert!(!answered, "a retired box serves");
                assert_eq!(key(&boot.life, 1), root);
                assert_eq!(accept(rig, boot, &retiring).unwrap(), Accepted::Retired);
            }
            assert_eq!(boot.life.phase(), Phase::Locked(Reason::Retired));
            assert!(boot.life.chain().is_none());
        },
    };
    assert!(step.enumerate(&mut rig) > 14);
}
