//! The same for a root that comes in: k shares, or an envelope.

use casemate_core::phase::{Phase, Reason};
use casemate_formats::{
    code::Code,
    share::{seal::Contents, split},
};
use casemate_tests::{
    recovery::{Shares, again, asking, envelope, named},
    whole::On,
};

use crate::step::{Step, rig};

/// What two custodians have.
fn two(shares: &Shares) -> [Contents; 2] {
    [0, 2].map(|who| Contents::Share(shares.share(who)))
}

#[test]
fn shares_that_open_the_root() {
    let (mut rig, before, (bundle, shares, root)) = rig(|rig, on, _| {
        let (bundle, shares) = on.establish_with_shares(rig).unwrap();
        rig.soft.clear().unwrap();
        (bundle, shares, on.key(1))
    });
    let brought = two(&shares);
    let step = Step {
        name: "shares",
        before,
        act: Some(&|on, _| on.take(&bundle, &brought).is_ok_and(|taken| taken.entered.is_some())),
        check: &|_, on, answered| {
            if on.phase() != Phase::Operational {
                assert!(!answered, "a root that was brought in is lost");
                assert!(on.key(1).is_none());
                // They are gone with the power; the same ones, sealed to this boot, open it.
                on.take(&bundle, &brought).unwrap();
            }
            assert_eq!((on.phase(), on.key(1), on.seq()), (Phase::Operational, root, 2));
            assert!(on.reads());
        },
    };
    assert!(step.enumerate(&mut rig) > 60);
}

#[test]
fn shares_for_a_host_that_keeps_nothing() {
    let (mut rig, before, (bundle, shares, root)) = rig(|rig, on, known| {
        let (mut bundle, shares) = on.establish_with_shares(rig).unwrap();
        bundle = again(&bundle);
        bundle.hosts[0].sealed = false;
        on.push(rig, &bundle).unwrap();
        assert!(on.serve(known, 30, true) && on.serve(known, 3, false));
        (bundle, shares, on.key(1))
    });
    let brought = two(&shares);
    let step = Step {
        name: "shares, kept nowhere",
        before,
        act: Some(&|on, _| on.take(&bundle, &brought).is_ok_and(|taken| taken.entered.is_some())),
        check: &|_, on, _| {
            assert_eq!(on.phase(), Phase::Locked(Reason::NotSealed));
            on.take(&bundle, &brought).unwrap();
            // Its log is the one of before: a ring that stands where the counter stands is continued.
            assert_eq!((on.phase(), on.key(1), on.reads()), (Phase::Operational, root, true));
        },
    };
    assert!(step.enumerate(&mut rig) > 10);
}

#[test]
fn a_pending_root_that_another_box_forwards() {
    let (mut rig, before, (asking, root, now)) = rig(|rig, on, _| {
        let base = on.establish(rig).unwrap();
        let asking = asking(&base, true, 2);
        on.push(rig, &asking).unwrap();
        let now = *on.house.life().chain().unwrap().newest().expose_bytes();
        (asking, on.key(1), now)
    });
    // What the other box made.
    rig.restore(&before.0).unwrap();
    let on = On::boot(&rig).unwrap();
    let answer = on.genesis().unwrap();
    drop(on);
    let shares = Shares::of(&rig.site, &answer).unwrap();
    let pending = split::combine(&[shares.share(0), shares.share(1)]).unwrap();
    let named = named(&rig.site, &asking, &answer).unwrap();
    let brought = [envelope(&now, Some(&pending))];
    let step = Step {
        name: "pending root forwarded",
        before,
        act: Some(&|on, _| on.take(&asking, &brought).is_ok_and(|taken| taken.pending)),
        check: &|rig, on, answered| {
            assert_eq!((on.phase(), on.key(1)), (Phase::Operational, root));
            if let Err(refused) = on.accept(&rig.site.sign(&named).unwrap()) {
                assert_eq!(refused.code, Code::RootNotHeld);
                assert!(!answered, "a pending root that was taken is lost");
                assert!(on.take(&asking, &brought).unwrap().pending);
                on.push(rig, &named).unwrap();
            }
            assert_eq!((on.key(1), on.key(2).is_some()), (root, true));
        },
    };
    assert!(step.enumerate(&mut rig) > 10);
}
