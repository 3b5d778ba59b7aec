//! The way back in: k shares, or an envelope of another box. What opens, what is kept, what is refused
//! by which name, and what stays as it was.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::life::{Brought, Origin, Untaken};
use casemate_core::phase::{Phase, Reason};
use casemate_formats::{
    bundle::Bundle,
    code::Code,
    digest::Digest,
    share::{Message, Share, seal::Contents},
};
use casemate_tests::{
    disk::TestDisk,
    life::{Boot, Measured, Rig, accept, key, record},
    recovery::{Shares, again, asking, bring, envelope, established, message, named, root},
    swtpm::SoftTpm,
};

/// An Operational box with its bundle and its custodians, off.
fn lost() -> (Rig, Bundle, Shares, Option<[u8; 32]>) {
    let rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let (bundle, kept) = established(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    (rig, bundle, kept, root)
}

/// The same with its TPM cleared: on, and Locked.
fn locked() -> (Rig, Boot, Bundle, Shares, Option<[u8; 32]>) {
    let (mut rig, bundle, kept, root) = lost();
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot));
    (rig, boot, bundle, kept, root)
}

/// Brings one message that is refused; nothing is written, nothing changes.
fn refused(rig: &Rig, boot: &mut Boot, message: &Message) -> (Code, Option<Digest>) {
    let (phase, writes) = (boot.life.phase(), rig.disk.writes());
    let taken = boot.life.take(std::slice::from_ref(message)).unwrap();
    assert!(taken.entered.is_none() && !taken.pending);
    assert_eq!((boot.life.phase(), rig.disk.writes()), (phase, writes));
    let [Untaken { index: 0, commitment, code }] = taken.refused[..] else {
        panic!("one message was refused: {:?}", taken.refused)
    };
    (code, commitment)
}

fn serves_after_a_reboot(rig: &mut Rig, boot: Boot, root: Option<[u8; 32]>) {
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
    assert_eq!(boot.life.origin(), Some(Origin::Fresh));
    drop(boot);
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
    assert_eq!(boot.life.origin(), Some(Origin::Blob));
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn a_cleared_tpm_takes_k_shares_one_by_one_and_serves_without_them_after_a_reboot() {
    let (mut rig, mut boot, bundle, kept, root) = locked();
    let first = message(&boot, &bundle, &Contents::Share(kept.share(2)));
    let taken = boot.life.take(&[first]).unwrap();
    assert_eq!((taken.held, taken.needed, taken.entered), (1, 2, None));
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot), "k - 1 open nothing");
    let second = message(&boot, &bundle, &Contents::Share(kept.share(0)));
    let taken = boot.life.take(&[second]).unwrap();
    assert_eq!((taken.held, taken.entered), (0, Some(Brought::Shares)));
    serves_after_a_reboot(&mut rig, boot, root);
}

#[test]
fn a_blank_disk_takes_the_bundle_and_k_shares() {
    let (mut rig, bundle, kept, root) = lost();
    rig.disk = TestDisk::blank(4096);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.take(&[]).unwrap_err().code, Code::WrongPhase);
    accept(&rig, &mut boot, &bundle).unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoRoot));
    bring(&mut boot, &bundle, &kept, [1, 2]).unwrap();
    serves_after_a_reboot(&mut rig, boot, root);
}

#[test]
fn new_hardware_takes_a_bundle_that_lists_it_and_k_shares() {
    let (mut rig, bundle, kept, root) = lost();
    (rig.disk, rig.soft) = (TestDisk::blank(4096), SoftTpm::blank().unwrap());
    let mut boot = rig.boot().unwrap();
    let mut listing = again(&bundle);
    listing.hosts = vec![record(&boot)];
    accept(&rig, &mut boot, &listing).unwrap();
    bring(&mut boot, &listing, &kept, [0, 1]).unwrap();
    serves_after_a_reboot(&mut rig, boot, root);
}

#[test]
fn what_is_no_share_for_this_boot_is_named_and_the_others_stay() {
    let (mut rig, mut boot, bundle, kept, _) = locked();
    let good = |boot: &Boot, who| message(boot, &bundle, &Contents::Share(kept.share(who)));
    let held = good(&boot, 1);
    assert_eq!(boot.life.take(std::slice::from_ref(&held)).unwrap().held, 1);
    let commitment = Some(kept.share(1).commitment());
    assert_eq!(refused(&rig, &mut boot, &held), (Code::RepeatedShare, commitment));
    let sealed_again = good(&boot, 1);
    assert_eq!(refused(&rig, &mut boot, &sealed_again), (Code::RepeatedShare, commitment));

    // Every bit counts.
    for byte in [0, 31, 32, 50, 83] {
        let mut flipped = good(&boot, 0);
        flipped.sealed[byte] ^= 1;
        assert_eq!(refused(&rig, &mut boot, &flipped), (Code::DamagedShare, None));
    }
    let mut cut = good(&boot, 0);
    cut.sealed.truncate(20);
    assert_eq!(refused(&rig, &mut boot, &cut), (Code::DamagedShare, None));

    // A share of another root, and of another split of this one: by what they claim, and by what they are.
    let (other_rig, _, foreign, _) = lost();
    drop(other_rig);
    let foreign = message(&boot, &bundle, &Contents::Share(foreign.share(0)));
    let (code, named) = refused(&rig, &mut boot, &foreign);
    assert_eq!((code, named.is_some()), (Code::WrongShare, true));
    let mut earlier = good(&boot, 0);
    earlier.generation = 2;
    assert_eq!(refused(&rig, &mut boot, &earlier), (Code::WrongRoot, None));
    let mut split = good(&boot, 0);
    split.split = 2;
    assert_eq!(refused(&rig, &mut boot, &split), (Code::WrongSplit, None));
    let mut moved = kept.share(0).expose_bytes().to_vec();
    moved[0] = 3;
    let moved = Contents::Share(Share::from_bytes(&moved).unwrap());
    let moved = message(&boot, &bundle, &moved);
    assert_eq!(refused(&rig, &mut boot, &moved).0, Code::WrongShare, "in another's place");

    // Another bundle, another boot, and one that lies about which.
    let next = message(&boot, &again(&bundle), &Contents::Share(kept.share(0)));
    assert_eq!(refused(&rig, &mut boot, &next), (Code::WrongBundle, None));
    let lie = Message { bundle: bundle.digest(), ..next };
    assert_eq!(refused(&rig, &mut boot, &lie), (Code::DamagedShare, None));
    let four = [0, 1, 2, 0].map(|who| good(&boot, who));
    assert_eq!(boot.life.take(&four).unwrap_err().code, Code::TooManyShares);

    // After all of it the one that is held is enough with one more; of three, two were not needed.
    let of_old_boot = good(&boot, 0);
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(refused(&rig, &mut boot, &of_old_boot), (Code::WrongBoot, None));
    let lie = Message { boot: boot.life.hpke_key(), ..of_old_boot };
    assert_eq!(refused(&rig, &mut boot, &lie), (Code::DamagedShare, None));
    let mut flipped = good(&boot, 2);
    flipped.sealed[40] ^= 4;
    let mixed = [good(&boot, 0), flipped, good(&boot, 1)];
    let taken = boot.life.take(&mixed).unwrap();
    assert_eq!(taken.entered, Some(Brought::Shares));
    assert_eq!(taken.refused, [Untaken { index: 1, commitment: None, code: Code::DamagedShare }]);
}

#[test]
fn a_removed_custodians_share_opens_nothing_after_a_split_anew() {
    let (mut rig, bundle, kept, root) = lost();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut asking = asking(&bundle, false, 2);
    asking.root.next.as_mut().unwrap().custodians.remove(2);
    accept(&rig, &mut boot, &asking).unwrap();
    let answer = boot.life.genesis().unwrap();
    let named = named(&rig.site, &asking, &answer).unwrap();
    accept(&rig, &mut boot, &named).unwrap();
    drop(boot);
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    for who in 0..3 {
        let old = message(&boot, &named, &Contents::Share(kept.share(who)));
        assert_eq!(refused(&rig, &mut boot, &old).0, Code::WrongShare);
    }
    // The same root by the new split.
    let anew = Shares::of(&rig.site, &answer).unwrap();
    bring(&mut boot, &named, &anew, [0, 1]).unwrap();
    serves_after_a_reboot(&mut rig, boot, root);
}

#[test]
fn shares_stay_while_the_root_section_does_and_no_longer() {
    let (rig, mut boot, bundle, kept, root) = locked();
    let one = message(&boot, &bundle, &Contents::Share(kept.share(0)));
    assert_eq!(boot.life.take(&[one]).unwrap().held, 1);
    let next = again(&bundle);
    accept(&rig, &mut boot, &next).unwrap();
    assert_eq!(boot.life.take(&[]).unwrap().held, 1, "another bundle, the same root section");
    let asking = asking(&next, false, 2);
    accept(&rig, &mut boot, &asking).unwrap();
    assert_eq!(boot.life.take(&[]).unwrap().held, 0, "another root section");
    bring(&mut boot, &asking, &kept, [0, 1]).unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
}

#[test]
fn who_keeps_nothing_takes_shares_at_every_boot_and_writes_nothing() {
    let (mut rig, bundle, kept, expected) = lost();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut unsealed = again(&bundle);
    unsealed.hosts[0].sealed = false;
    accept(&rig, &mut boot, &unsealed).unwrap();
    let old = root(&boot);
    for round in 0..3 {
        drop(boot);
        rig.power_cycle().unwrap();
        boot = rig.boot().unwrap();
        assert_eq!(boot.life.phase(), Phase::Locked(Reason::NotSealed));
        let writes = rig.disk.writes();
        if round == 1 {
            let forwarded = message(&boot, &unsealed, &envelope(&old, None));
            assert_eq!(boot.life.take(&[forwarded]).unwrap().entered, Some(Brought::Forward));
        } else {
            bring(&mut boot, &unsealed, &kept, [0, 2]).unwrap();
        }
        assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, expected));
        assert_eq!(rig.disk.writes(), writes, "something was kept");
    }
    // Accepting goes on without keeping.
    accept(&rig, &mut boot, &again(&unsealed)).unwrap();
    assert_eq!(boot.life.phase(), Phase::Operational);
}

#[test]
fn a_box_that_may_not_have_the_root_takes_no_shares() {
    const OTHER: Measured =
        Measured { secure_boot: b"the site's keys", sections: &[(".linux", b"another kernel")] };
    let (mut rig, bundle, kept, _) = lost();
    let shares = |boot: &Boot, bundle: &Bundle| {
        [0, 1].map(|who| message(boot, bundle, &Contents::Share(kept.share(who))))
    };
    // An image that the bundle does not list.
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_as(OTHER).unwrap();
    let brought = shares(&boot, &bundle);
    assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::NotListed);
    assert!(boot.life.chain().is_none());
    drop(boot);
    // Three panics.
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_after_panics().unwrap();
    let brought = shares(&boot, &bundle);
    assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::CrashLoop);
    drop(boot);
    // Retired.
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut retiring = again(&bundle);
    retiring.hosts[0].retired = true;
    accept(&rig, &mut boot, &retiring).unwrap();
    let brought = shares(&boot, &retiring);
    assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::Retired);
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let brought = shares(&boot, &retiring);
    assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::Retired);
    assert!(boot.life.chain().is_none());
}

#[test]
fn after_three_panics_no_root_comes_in_however_the_box_came_to_be_closed() {
    let (mut rig, bundle, kept, _) = lost();
    let closed = |boot: &mut Boot, bundle: &Bundle| {
        assert_eq!(boot.life.phase(), Phase::Locked(Reason::CrashLoop));
        let brought = [0, 1].map(|who| message(boot, bundle, &Contents::Share(kept.share(who))));
        assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::CrashLoop);
        assert_eq!(boot.life.genesis().unwrap_err().code, Code::CrashLoop);
        assert!(boot.life.chain().is_none());
    };
    // It keeps nothing.
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut unsealed = again(&bundle);
    unsealed.hosts[0].sealed = false;
    accept(&rig, &mut boot, &unsealed).unwrap();
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_after_panics().unwrap();
    closed(&mut boot, &unsealed);
    // Its disk was blank when it started.
    drop(boot);
    rig.disk = TestDisk::blank(4096);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_after_panics().unwrap();
    assert_eq!(boot.life.phase(), Phase::Unprovisioned);
    accept(&rig, &mut boot, &bundle).unwrap();
    closed(&mut boot, &bundle);
    drop(boot);
    // There is no root of the site yet, and none is made here.
    rig.disk = TestDisk::blank(4096);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot_after_panics().unwrap();
    let first = rig.bundle(1, &boot);
    accept(&rig, &mut boot, &first).unwrap();
    assert_eq!(boot.life.genesis().unwrap_err().code, Code::CrashLoop);
}

#[test]
fn shares_for_a_bundle_that_is_wrong_about_its_root_open_nothing() {
    let (rig, mut boot, bundle, kept, root) = locked();
    // A closed box cannot see it: the bundle is in force, and says wrong things about a root.
    let mut wrong = again(&bundle);
    wrong.root.established.as_mut().unwrap().authorities[0][60] ^= 1;
    accept(&rig, &mut boot, &wrong).unwrap();
    let brought = [0, 1].map(|who| message(&boot, &wrong, &Contents::Share(kept.share(who))));
    let writes = rig.disk.writes();
    assert_eq!(boot.life.take(&brought).unwrap_err().code, Code::WrongAuthority);
    assert_eq!(rig.disk.writes(), writes);
    assert!(boot.life.chain().is_none());
    assert_eq!(boot.life.take(&[]).unwrap().held, 0, "they are wiped");
    let mut right = again(&wrong);
    right.root = bundle.root.clone();
    accept(&rig, &mut boot, &right).unwrap();
    bring(&mut boot, &right, &kept, [0, 1]).unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
}

#[test]
fn an_envelope_opens_with_the_right_root_and_a_forged_one_is_refused() {
    let (mut rig, bundle, _, expected) = lost();
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    let right = root(&boot);
    drop(boot);
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    for pending in [None, Some(&[8; 32])] {
        let forged = message(&boot, &bundle, &envelope(&[9; 32], pending));
        assert_eq!(refused(&rig, &mut boot, &forged), (Code::WrongRoot, None));
    }
    assert!(boot.life.chain().is_none());
    let forged = message(&boot, &bundle, &envelope(&[9; 32], None));
    let sent = message(&boot, &bundle, &envelope(&right, None));
    let taken = boot.life.take(&[forged, sent]).unwrap();
    assert_eq!((taken.entered, taken.refused.len()), (Some(Brought::Forward), 1));
    serves_after_a_reboot(&mut rig, boot, expected);
}

#[test]
fn an_open_box_takes_a_pending_root_and_the_bundle_that_names_it() {
    let (mut rig, bundle, kept, old) = lost();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let asking = asking(&bundle, true, 2);
    accept(&rig, &mut boot, &asking).unwrap();
    let now = root(&boot);
    let before = rig.disk.copy();
    // Another box makes the next root: here the same one from the same state, which is put back.
    let answer = boot.life.genesis().unwrap();
    let next = Shares::of(&rig.site, &answer).unwrap();
    let pending = casemate_formats::share::split::combine(&[next.share(0), next.share(1)]).unwrap();
    drop(boot);
    rig.disk = before;
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let named = named(&rig.site, &asking, &answer).unwrap();
    let refusal = boot.life.accept(&rig.site.sign(&named).unwrap()).unwrap_err();
    assert_eq!(refusal.code, Code::RootNotHeld);

    // A share is not needed here; a wrong root brings no pending one.
    let share = message(&boot, &asking, &Contents::Share(kept.share(0)));
    assert_eq!(refused(&rig, &mut boot, &share).0, Code::WrongPhase);
    let forged = message(&boot, &asking, &envelope(&[9; 32], Some(&pending)));
    assert_eq!(refused(&rig, &mut boot, &forged), (Code::WrongRoot, None));
    let without = message(&boot, &asking, &envelope(&now, None));
    assert!(!boot.life.take(&[without]).unwrap().pending);
    let envelope = message(&boot, &asking, &envelope(&now, Some(&pending)));
    let taken = boot.life.take(std::slice::from_ref(&envelope)).unwrap();
    assert!(taken.pending && taken.entered.is_none());
    let writes = rig.disk.writes();
    assert!(!boot.life.take(&[envelope]).unwrap().pending, "it is at hand");
    assert_eq!(rig.disk.writes(), writes);

    // It is sealed: a reboot later the bundle that names it is taken, and both roots open.
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    accept(&rig, &mut boot, &named).unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, old));
    assert!(key(&boot.life, 2).is_some());
    drop(boot);
    // Lost again: the new shares open the old root as well, the old ones nothing.
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let stale = message(&boot, &named, &Contents::Share(kept.share(0)));
    assert_eq!(refused(&rig, &mut boot, &stale).0, Code::WrongShare);
    bring(&mut boot, &named, &next, [1, 2]).unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, old));
}

#[test]
fn a_pending_root_comes_with_the_root_and_is_kept() {
    let (mut rig, bundle, _, old) = lost();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let asking = asking(&bundle, true, 2);
    accept(&rig, &mut boot, &asking).unwrap();
    let now = root(&boot);
    let answer = boot.life.genesis().unwrap();
    let next = Shares::of(&rig.site, &answer).unwrap();
    let pending = casemate_formats::share::split::combine(&[next.share(0), next.share(1)]).unwrap();
    drop(boot);
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let sent = message(&boot, &asking, &envelope(&now, Some(&pending)));
    let taken = boot.life.take(&[sent]).unwrap();
    assert_eq!((taken.entered, taken.pending), (Some(Brought::Forward), true));
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let again_answer = boot.life.genesis().unwrap();
    assert_eq!(again_answer.fingerprint, answer.fingerprint, "the same pending root");
    let named = named(&rig.site, &asking, &answer).unwrap();
    accept(&rig, &mut boot, &named).unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, old));
}
