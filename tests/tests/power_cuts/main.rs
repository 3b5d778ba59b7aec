//! Power cuts between any two steps of everything that changes what a box keeps: at each command to the
//! TPM and each write to the disk, writes torn in eight ways; then at random instants of random lives.
//! The next boot needs no hands, has the bundle that was answered and the right root, every
//! acknowledged record, no nonce twice; the step can be done again, and the disk of before opens nothing.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

mod shares;
mod step;

use casemate_appliance::{life::Accepted, tpm::Counter};
use casemate_core::phase::{Phase, Reason};
use casemate_formats::{bundle::Bundle, genesis::Answer};
use casemate_tests::{
    disk::Faults,
    life::{Kept, Measured, Rig, acknowledged},
    power::{Dice, campaign},
    recovery::{again, asking, named},
    whole::{Answered, On, nonces_are_fresh},
};

use step::{Step, rig, serving};

#[test]
fn the_first_accept() {
    let (mut rig, before, bundle) = rig(|rig, on, _| rig.site.bundle(1, vec![on.record()]));
    let envelope = rig.site.sign(&bundle).unwrap();
    let step = Step {
        name: "first accept",
        before,
        act: Some(&|on, _| on.accept(&envelope).is_ok()),
        check: &|rig, on, answered| {
            match on.phase() {
                Phase::Unprovisioned => assert!(!answered, "an accepted bundle is lost"),
                phase => assert_eq!(phase, Phase::Locked(Reason::NoRoot)),
            }
            on.push(rig, &bundle).unwrap();
            assert_eq!(on.seq(), 1);
        },
    };
    assert!(step.enumerate(&mut rig) > 8);
}

#[test]
fn an_accept_of_an_operational_box() {
    let (mut rig, before, (base, root)) = serving();
    let mut next = base.clone();
    next.site.seq += 5;
    let envelope = rig.site.sign(&next).unwrap();
    let step = Step {
        name: "accept",
        before,
        act: Some(&|on, _| on.accept(&envelope).is_ok()),
        check: &|rig, on, answered| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            let now = on.seq();
            assert!(now == 7 || (now == 2 && !answered), "bundle {now}");
            let counter = on.tpm.counter(Counter::Seal).unwrap().unwrap();
            let expected = if now == 2 { Accepted::InForce } else { Accepted::Again };
            assert_eq!(on.push(rig, &next).unwrap(), expected);
            let raised = on.tpm.counter(Counter::Seal).unwrap().unwrap() - counter;
            assert_eq!(raised, if now == 2 { 5 } else { 0 }, "the increments were finished");
        },
    };
    assert!(step.enumerate(&mut rig) > 25);
}

#[test]
fn genesis_of_the_first_root() {
    let (mut rig, before, bundle) = rig(|rig, on, _| {
        let bundle = rig.site.bundle(1, vec![on.record()]);
        on.push(rig, &bundle).unwrap();
        bundle
    });
    let step = Step {
        name: "genesis",
        before,
        act: Some(&|on, _| on.genesis().is_ok()),
        check: &|rig, on, _| {
            assert_eq!((on.phase(), on.seq()), (Phase::Locked(Reason::NoRoot), 1));
            let answer = on.genesis().unwrap();
            enter(rig, on, &bundle, &answer);
        },
    };
    assert!(step.enumerate(&mut rig) > 60);
}

/// Accepts the bundle that names the root of `answer`.
fn enter(rig: &Rig, on: &On, asking: &Bundle, answer: &Answer) {
    let mut named = again(asking);
    named.root.established = Some(acknowledged(&rig.site, answer, None).unwrap());
    assert_eq!(on.push(rig, &named).unwrap(), Accepted::Entered);
}

#[test]
fn the_accept_that_names_the_root() {
    let (mut rig, before, (bundle, answer)) = rig(|rig, on, _| {
        let bundle = rig.site.bundle(1, vec![on.record()]);
        on.push(rig, &bundle).unwrap();
        (bundle, on.genesis().unwrap())
    });
    let mut named = again(&bundle);
    named.root.established = Some(acknowledged(&rig.site, &answer, None).unwrap());
    let envelope = rig.site.sign(&named).unwrap();
    let step = Step {
        name: "accept of the root",
        before,
        act: Some(&|on, _| on.accept(&envelope).is_ok()),
        check: &|rig, on, answered| {
            let expected = match on.phase() {
                Phase::Operational => {
                    assert!(on.reads(), "the log began before the root was kept");
                    Accepted::Again
                }
                phase => {
                    assert!(!answered, "an accepted root is lost");
                    assert_eq!(phase, Phase::Locked(Reason::NoRoot));
                    Accepted::Entered
                }
            };
            assert_eq!(on.push(rig, &named).unwrap(), expected);
            assert!(on.key(1).is_some() && on.reads());
            assert!(on.serve(&mut Answered::default(), 3, false));
        },
    };
    assert!(step.enumerate(&mut rig) > 30);
}

#[test]
fn genesis_and_accept_of_a_next_root() {
    let (mut rig, before, (asking, root)) = rig(|rig, on, _| {
        let base = on.establish(rig).unwrap();
        let asking = asking(&base, true, 2);
        on.push(rig, &asking).unwrap();
        (asking, on.key(1))
    });
    let step = Step {
        name: "genesis of a next root",
        before: before.clone(),
        act: Some(&|on, _| on.genesis().is_ok()),
        check: &|_, on, _| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            assert_eq!(on.seq(), 3);
            on.genesis().unwrap();
        },
    };
    let mut points = step.enumerate(&mut rig);

    rig.restore(&before.0).unwrap();
    let on = On::boot(&rig).unwrap();
    let answer = on.genesis().unwrap();
    drop(on);
    let named = named(&rig.site, &asking, &answer).unwrap();
    let envelope = rig.site.sign(&named).unwrap();
    let step = Step {
        name: "accept of a next root",
        before: (rig.keep().unwrap(), before.1),
        act: Some(&|on, _| on.accept(&envelope).is_ok()),
        check: &|rig, on, answered| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            assert!(on.seq() == 4 || !answered);
            on.push(rig, &named).unwrap();
            assert!(on.key(2).is_some());
            assert_eq!(on.key(1), root);
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
    let (mut rig, before, (base, root)) = serving();
    rig.restore(&before.0).unwrap();
    let on = On::new(rig.boot_as(FIRMWARE).unwrap()).unwrap();
    let mut next = again(&base);
    next.hosts[0].pcr7.push(FIRMWARE.pcr7()).unwrap();
    on.push(&rig, &next).unwrap();
    assert!(on.key(1).is_none());
    drop(on);
    let step = Step {
        name: "boot that seals anew",
        before: (rig.keep().unwrap(), before.1),
        act: None,
        check: &|_, on, _| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            assert!(on.seq() == 3 && on.reads());
        },
    };
    assert!(step.enumerate(&mut rig) > 35);
}

#[test]
fn an_ordinary_boot_with_its_tick() {
    let (mut rig, before, (_, root)) = serving();
    let step = Step {
        name: "boot",
        before,
        act: None,
        check: &|_, on, _| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            assert!(on.seq() == 2 && on.reads());
        },
    };
    assert!(step.enumerate(&mut rig) > 20);
}

#[test]
fn a_days_records_ticks_and_acknowledgements() {
    let (mut rig, before, (_, root)) = serving();
    let step = Step {
        name: "load",
        before,
        act: Some(&|on, known| {
            on.serve(known, 1, false)
                && on.serve(known, 700, false)
                && on.serve(known, 2, true)
                && on.collect()
                && on.tick()
                && on.serve(known, 3, false)
        }),
        check: &|_, on, _| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            assert!(on.reads());
        },
    };
    assert!(step.enumerate(&mut rig) > 45);
}

#[test]
fn retirement() {
    let (mut rig, before, (base, root)) = serving();
    let mut retiring = again(&base);
    retiring.hosts[0].retired = true;
    let envelope = rig.site.sign(&retiring).unwrap();
    let step = Step {
        name: "retirement",
        // What it answered is out of reach from then on, as it is meant to be.
        before: (before.0, Answered::default()),
        act: Some(&|on, _| on.accept(&envelope).is_ok()),
        check: &|rig, on, answered| {
            if on.phase() == Phase::Operational {
                assert!(!answered, "a retired box serves");
                assert_eq!(on.key(1), root);
                assert_eq!(on.push(rig, &retiring).unwrap(), Accepted::Retired);
            }
            assert_eq!(on.phase(), Phase::Locked(Reason::Retired));
            assert!(on.key(1).is_none());
        },
    };
    assert!(step.enumerate(&mut rig) > 14);
}

fn few(dice: &mut Dice, most: u64) -> u32 {
    u32::try_from(dice.roll(most)).unwrap()
}

/// One life after another on one box: loads, bundles, ticks and boots, each of which may be the one
/// that the power goes in, at an event or at any instant.
fn lives(rig: &mut Rig, seed: u64, (before, base, root): (&(Kept, Answered), &Bundle, [u8; 32])) {
    let mut dice = Dice::new(seed);
    rig.restore(&before.0).unwrap();
    let mut known = before.1.clone();
    let (mut bundle, mut cuts) = (base.clone(), 0);
    known.seq = bundle.site.seq;
    for life in 0..4 {
        let what = format!("seed {seed}, life {life}");
        let (bus, power) = (rig.bus().unwrap(), rig.disk.power());
        power.cut_at(usize::try_from(dice.roll(160)).unwrap(), dice.cut());
        // The power may go at any event from the first command of this boot on.
        let booted = rig
            .enter(&bus.tcti(), Measured::LISTED)
            .and_then(|tpm| On::new(rig.open(tpm, Measured::LISTED)?));
        if let Ok(on) = booted {
            while !power.is_off() && dice.roll(40) > 0 {
                match dice.roll(8) {
                    0 => {
                        let mut next = again(&bundle);
                        next.site.seq += dice.roll(3);
                        if on.push(rig, &next).is_ok() {
                            known.seq = next.site.seq;
                        }
                        // Either may be in force after a cut, so the next one is above both.
                        bundle = next;
                    }
                    1 => drop(on.tick()),
                    2 => drop(on.collect()),
                    3 => drop(on.serve(&mut known, 200 + few(&mut dice, 900), false)),
                    n => drop(on.serve(&mut known, 1 + few(&mut dice, 3), n == 4)),
                }
            }
            cuts += u32::from(power.is_off());
            power.cut();
        }
        drop(bus);
        rig.power_cycle().unwrap();
        let on = On::boot(rig).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(on.reads(), "{what}: {:?}", on.phase());
        assert_eq!(on.key(1), Some(root), "{what}");
        assert!((known.seq..=bundle.site.seq).contains(&on.seq()), "{what}: bundle {}", on.seq());
        (known.seq, bundle.site.seq) = (on.seq(), on.seq());
        on.audit(&known).unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(on);
        rig.power_cycle().unwrap();
    }
    println!("seed {seed}: {cuts} of 4 lives cut at an event, {} items kept", known.items.len());
}

#[test]
fn random_lives_with_random_cuts_lose_nothing() {
    let (mut rig, before, (base, root)) = serving();
    for seed in campaign(6) {
        lives(&mut rig, seed, (&before, &base, root.unwrap()));
        nonces_are_fresh(&rig).unwrap();
    }
}

#[test]
fn with_several_writes_under_way_a_cut_at_any_instant_loses_nothing() {
    let (mut rig, before, (base, root)) = serving();
    for seed in campaign(6) {
        let mut dice = Dice::new(seed);
        rig.restore(&before.0).unwrap();
        let on = On::boot(&rig).unwrap();
        // Slow enough for the log's writer and an accept to be at the disk at once.
        let delay = std::time::Duration::from_millis(2);
        rig.disk.misbehave(Faults { delay, ..Faults::default() });
        let power = rig.disk.power();
        let mut known = before.1.clone();
        let instant = std::time::Duration::from_micros(dice.roll(120_000));
        let mut next = again(&base);
        std::thread::scope(|scope| {
            let (on, power, known) = (&on, &power, &mut known);
            scope.spawn(move || {
                std::thread::sleep(instant);
                power.cut();
            });
            let pushing = scope.spawn(|| {
                while on.push(&rig, &next).is_ok() {
                    next = again(&next);
                }
                next.site.seq
            });
            while on.serve(known, 1 + few(&mut dice, 300), dice.roll(5) == 0) {}
            pushing.join().unwrap();
        });
        drop(on);
        rig.power_cycle().unwrap();
        let on = On::boot(&rig).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(on.reads() && on.key(1) == root, "seed {seed}: {:?}", on.phase());
        let seq = on.seq();
        assert!(seq == next.site.seq || seq == next.site.seq - 1, "seed {seed}: bundle {seq}");
        on.audit(&known).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// What no box can make good (the threat model says so), and what holds all the same. It also shows that
/// the checks above see a loss.
#[test]
fn a_disk_that_lies_about_flush_loses_what_it_lied_about_but_opens_nothing_older() {
    let (mut rig, before, (base, root)) = serving();
    let (mut lost, mut locked) = (0, 0);
    for seed in campaign(6) {
        let mut dice = Dice::new(seed);
        rig.restore(&before.0).unwrap();
        let on = On::boot(&rig).unwrap();
        rig.disk.misbehave(Faults { unflushed: 6, ..Faults::default() });
        let mut known = before.1.clone();
        for _ in 0..dice.roll(30) {
            on.serve(&mut known, 1 + few(&mut dice, 30), dice.roll(3) == 0);
        }
        let answered = dice.roll(2) == 0 && on.push(&rig, &again(&base)).is_ok();
        drop(on);
        rig.disk.power().cut();
        rig.power_cycle().unwrap();
        let on = On::boot(&rig).unwrap();
        match on.phase() {
            Phase::Operational => {
                assert!(on.key(1) == root && on.seq() == base.site.seq + u64::from(answered));
                lost += u32::from(on.audit(&known).is_err());
            }
            Phase::Locked(Reason::NoLiveSlot | Reason::DoesNotOpen) => {
                assert!(answered, "seed {seed}: nothing else was written to a slot");
                locked += 1;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{lost} logs lost records, {locked} boxes are locked");
    assert!(lost > 0);
}
