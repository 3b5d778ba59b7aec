//! What a box accepts, refuses, opens and keeps closed, by name.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use std::sync::{Arc, Mutex};

use casemate_appliance::{
    life::{Accepted, Origin},
    tpm::Counter,
};
use casemate_core::phase::{Phase, Reason};
use casemate_formats::{bundle::Bundle, code::Code, digest::Digest};
use casemate_tests::{
    life::{Boot, Measured, Rig, accept, acknowledged, establish, key},
    recovery::{again, asking, named},
};

/// The code of a refusal.
fn refusal(rig: &Rig, boot: &mut Boot, bundle: &Bundle) -> Code {
    let before = boot.life.bundle().map(|bundle| bundle.digest());
    let disk = rig.disk.writes();
    let code = boot.life.accept(&rig.site.sign(bundle).unwrap()).unwrap_err().code;
    assert_eq!(boot.life.bundle().map(|bundle| bundle.digest()), before, "{code} changed a thing");
    assert_eq!(rig.disk.writes(), disk, "{code} wrote");
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    code
}

#[test]
fn from_blank_to_operational_and_again_after_a_reboot() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Unprovisioned);
    assert!(boot.life.bundle().is_none() && boot.life.damaged().is_empty());
    let first = rig.bundle(1, &boot);
    assert_eq!(accept(&rig, &mut boot, &first).unwrap(), Accepted::InForce);
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoRoot));
    let answer = boot.life.genesis().unwrap();
    assert_eq!((answer.generation, answer.split, answer.shares.len()), (1, 1, 3));
    assert_eq!(answer.wrapped, None);
    let mut second = again(&first);
    second.root.established = Some(acknowledged(&rig.site, &answer, None).unwrap());
    assert_eq!(accept(&rig, &mut boot, &second).unwrap(), Accepted::Entered);
    assert_eq!((boot.life.phase(), boot.life.origin()), (Phase::Operational, Some(Origin::Fresh)));
    let root = key(&boot.life, 1);
    assert!(root.is_some());
    for _ in 0..2 {
        drop(boot);
        rig.power_cycle().unwrap();
        boot = rig.boot().unwrap();
        assert_eq!(boot.life.phase(), Phase::Operational);
        assert_eq!(boot.life.origin(), Some(Origin::Blob));
        assert_eq!(key(&boot.life, 1), root, "another root");
        assert_eq!(boot.life.bundle().unwrap().bundle(), &second);
        assert_eq!(accept(&rig, &mut boot, &second).unwrap(), Accepted::Again);
        assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    }
}

#[test]
fn numbers_only_go_up_by_at_most_64_and_never_fork() {
    let rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let with = |seq: u64, port: u16| {
        let mut bundle = base.clone();
        (bundle.site.seq, bundle.service.port) = (seq, port);
        bundle
    };
    assert_eq!(refusal(&rig, &mut boot, &with(1, 8443)), Code::SeqLower);
    assert_eq!(refusal(&rig, &mut boot, &with(2, 8444)), Code::SeqFork);
    assert_eq!(refusal(&rig, &mut boot, &with(67, 8443)), Code::SeqStep);
    assert_eq!(accept(&rig, &mut boot, &with(2, 8443)).unwrap(), Accepted::Again);
    let counter = boot.tpm.counter(Counter::Seal).unwrap().unwrap();
    assert_eq!(accept(&rig, &mut boot, &with(66, 8443)).unwrap(), Accepted::InForce);
    assert_eq!(boot.tpm.counter(Counter::Seal), Ok(Some(counter + 64)));
    assert_eq!(refusal(&rig, &mut boot, &with(131, 8443)), Code::SeqStep);
}

#[test]
fn what_signers_must_not_leave_wrong_is_refused_and_the_box_goes_on() {
    let rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    type Change = fn(&mut Bundle);
    let other = |n: u8| casemate_formats::digest::Name::new(&[&[0, 0x0b][..], &[n; 32]].concat());
    let ek = other(1).unwrap();
    let ak = other(2).unwrap();
    let mut wrong_ek = again(&base);
    wrong_ek.hosts[0].ek = ek;
    let mut wrong_ak = again(&base);
    wrong_ak.hosts[0].ak = ak;
    for bundle in [&wrong_ek, &wrong_ak] {
        assert_eq!(refusal(&rig, &mut boot, bundle), Code::NotListed);
    }
    let changes: [(Change, Code); 8] = [
        (|b| b.hosts.clear(), Code::NotListed),
        (|b| b.hosts[0].pcr7[0] = Digest::ZERO, Code::NotListed),
        (|b| b.images[0].pcr11 = Digest::ZERO, Code::NotListed),
        (|b| b.root.established = None, Code::RootDropped),
        (|b| established(b).fingerprint = Digest::ZERO, Code::RootDropped),
        (|b| established(b).acks.truncate(2), Code::MissingAck),
        (|b| established(b).acks.swap(0, 1), Code::WrongAck),
        (|b| established(b).authorities[0][60] ^= 1, Code::WrongAuthority),
    ];
    for (change, code) in changes {
        let mut bundle = again(&base);
        change(&mut bundle);
        assert_eq!(refusal(&rig, &mut boot, &bundle), code);
    }
    // The same custodians with another threshold have other shares: a mix of two splits.
    let mut mixed = again(&base);
    mixed.root.threshold = 3;
    assert_eq!(refusal(&rig, &mut boot, &mixed), Code::WrongCommitment);
    // A root of the next generation that was never made here.
    let mut unknown = again(&base);
    let known = established(&mut unknown);
    known.generation = 2;
    known.fingerprint = Digest::sha256(b"some other root");
    known.authorities.push(known.authorities[0].clone());
    known.wrapped.push(vec![0; 105]);
    assert_eq!(refusal(&rig, &mut boot, &unknown), Code::RootNotHeld);
    let one = rig.site.sign_by(&again(&base), &[0]).unwrap();
    assert_eq!(boot.life.accept(&one).unwrap_err().code, Code::TooFewSignatures);
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
    assert_eq!(accept(&rig, &mut boot, &again(&base)).unwrap(), Accepted::InForce);
}

#[test]
fn what_the_firmware_starts_first_is_asked_last_and_must_be_listed() {
    let rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    // How often it was asked, and what it says next.
    let firmware = Arc::new(Mutex::new((0, Ok(None))));
    let asked = Arc::clone(&firmware);
    boot.life.before_accepting(Box::new(move || {
        let mut firmware = asked.lock().unwrap();
        firmware.0 += 1;
        firmware.1
    }));
    // Anyone may bring any of these, as often as they like.
    let one = rig.site.sign_by(&again(&base), &[0]).unwrap();
    for bytes in [&b"no bundle"[..], &one] {
        boot.life.accept(bytes).unwrap_err();
    }
    let (mut older, mut unlisted) = (base.clone(), again(&base));
    older.site.seq -= 1;
    unlisted.images[0].pcr11 = Digest::ZERO;
    assert_eq!(refusal(&rig, &mut boot, &older), Code::SeqLower);
    assert_eq!(refusal(&rig, &mut boot, &unlisted), Code::NotListed);
    assert_eq!(accept(&rig, &mut boot, &base).unwrap(), Accepted::Again);
    assert_eq!(firmware.lock().unwrap().0, 0, "a firmware is slow");

    firmware.lock().unwrap().1 = Ok(Some(Digest::sha256(b"an ESP that it does not list")));
    assert_eq!(refusal(&rig, &mut boot, &again(&base)), Code::BootOrder);
    firmware.lock().unwrap().1 = Err(Code::UpdateInProgress);
    assert_eq!(refusal(&rig, &mut boot, &again(&base)), Code::UpdateInProgress);
    firmware.lock().unwrap().1 = Ok(Some(base.images[0].esp));
    assert_eq!(accept(&rig, &mut boot, &again(&base)).unwrap(), Accepted::InForce);
    assert_eq!(firmware.lock().unwrap().0, 3);
}

fn established(bundle: &mut Bundle) -> &mut casemate_formats::bundle::body::Established {
    bundle.root.established.as_mut().unwrap()
}

#[test]
fn two_hundred_accepts_in_a_row_and_a_reboot() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut bundle = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    let handles = boot.tpm.open_handles().unwrap();
    for round in 0..200 {
        bundle.site.seq += 1 + round % 3;
        assert_eq!(accept(&rig, &mut boot, &bundle).unwrap(), Accepted::InForce);
    }
    assert_eq!(boot.tpm.open_handles().unwrap(), handles);
    drop(boot);
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
    assert_eq!(boot.life.bundle().unwrap().bundle(), &bundle);
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn an_unlisted_image_or_pcr_7_opens_nothing_until_a_bundle_lists_it() {
    const OTHER: Measured =
        Measured { secure_boot: b"the site's keys", sections: &[(".linux", b"another kernel")] };
    const FIRMWARE: Measured =
        Measured { secure_boot: b"after a firmware update", ..Measured::LISTED };
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut bundle = establish(&rig, &mut boot).unwrap();
    let root = key(&boot.life, 1);
    for measured in [OTHER, FIRMWARE] {
        drop(boot);
        rig.power_cycle().unwrap();
        boot = rig.boot_as(measured).unwrap();
        assert_eq!(boot.life.phase(), Phase::Locked(Reason::NotListed));
        assert!(boot.life.chain().is_none());
        assert_eq!(boot.life.genesis().unwrap_err().code, Code::NotListed);
        assert_eq!(refusal(&rig, &mut boot, &again(&bundle)), Code::NotListed);
        // Signed anew with what is running now: accepted without the root, ...
        bundle = again(&bundle);
        let mut image = bundle.images[0].clone();
        image.pcr11 = measured.image();
        if bundle.images.iter().all(|listed| listed.pcr11 != image.pcr11) {
            bundle.images.push(image).unwrap();
        }
        if !bundle.hosts[0].pcr7.contains(&measured.pcr7()) {
            bundle.hosts[0].pcr7.push(measured.pcr7()).unwrap();
        }
        assert_eq!(accept(&rig, &mut boot, &bundle).unwrap(), Accepted::InForce);
        assert_eq!(boot.life.phase(), Phase::Locked(Reason::DoesNotOpen));
        // ... which the old image still opens, and seals under the new bundle; then the new one does.
        drop(boot);
        rig.power_cycle().unwrap();
        boot = rig.boot().unwrap();
        assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
        drop(boot);
        rig.power_cycle().unwrap();
        boot = rig.boot_as(measured).unwrap();
        assert_eq!((boot.life.phase(), key(&boot.life, 1)), (Phase::Operational, root));
        assert_eq!(boot.life.bundle().unwrap().bundle(), &bundle);
        assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    }
}

#[test]
fn a_dropped_image_never_opens_again_even_with_the_disk_of_before() {
    const OLD: Measured = Measured {
        secure_boot: b"the site's keys",
        sections: &[(".linux", b"a vulnerable kernel")],
    };
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut bundle = establish(&rig, &mut boot).unwrap();
    bundle = again(&bundle);
    let mut image = bundle.images[0].clone();
    image.pcr11 = OLD.image();
    bundle.images.insert(0, image).unwrap();
    accept(&rig, &mut boot, &bundle).unwrap();
    let old_disk = rig.disk.copy();
    bundle = again(&bundle);
    bundle.images.remove(0);
    accept(&rig, &mut boot, &bundle).unwrap();
    drop(boot);
    for disk in [rig.disk.copy(), old_disk] {
        rig.disk = disk;
        rig.power_cycle().unwrap();
        let boot = rig.boot_as(OLD).unwrap();
        assert!(matches!(boot.life.phase(), Phase::Locked(Reason::NotListed | Reason::NoLiveSlot)));
        assert!(boot.life.chain().is_none());
        assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    }
}

#[test]
fn genesis_may_be_repeated_and_shares_the_same_root_until_the_next_boot() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.genesis().unwrap_err().code, Code::WrongPhase);
    let bundle = rig.bundle(1, &boot);
    accept(&rig, &mut boot, &bundle).unwrap();
    let first = boot.life.genesis().unwrap();
    let same = boot.life.genesis().unwrap();
    assert_eq!((first.fingerprint, &first.commitments), (same.fingerprint, &same.commitments));
    assert_ne!(first.shares, same.shares, "encrypted anew");
    // Every accept in Locked carries the pending root on.
    let moved = again(&bundle);
    assert_eq!(accept(&rig, &mut boot, &moved).unwrap(), Accepted::InForce);
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoRoot));
    // The root that was acknowledged before the reboot is taken, ...
    let mut named = again(&moved);
    named.root.established = Some(acknowledged(&rig.site, &first, None).unwrap());
    assert_eq!(accept(&rig, &mut boot, &named).unwrap(), Accepted::Entered);
    assert_eq!(boot.life.genesis().unwrap_err().code, Code::GenesisNotAsked);
}

#[test]
fn what_was_sealed_alone_is_never_shared_out_by_a_later_boot() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let bundle = rig.bundle(1, &boot);
    accept(&rig, &mut boot, &bundle).unwrap();
    let first = boot.life.genesis().unwrap();
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    let second = boot.life.genesis().unwrap();
    assert_ne!(first.fingerprint, second.fingerprint);
    let mut named = again(&bundle);
    named.root.established = Some(acknowledged(&rig.site, &second, None).unwrap());
    assert_eq!(accept(&rig, &mut boot, &named).unwrap(), Accepted::Entered);
}

#[test]
fn a_next_root_carries_the_old_one_and_its_tokens_on() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let old = key(&boot.life, 1);
    let asking = asking(&base, true, 3);
    accept(&rig, &mut boot, &asking).unwrap();
    let answer = boot.life.genesis().unwrap();
    assert_eq!((answer.generation, answer.split), (2, 2));
    // Beside the root in force the pending one is authentic: it survives a reboot and is shared again.
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Operational);
    let answer_again = boot.life.genesis().unwrap();
    assert_eq!(answer.fingerprint, answer_again.fingerprint);
    let named = named(&rig.site, &asking, &answer_again).unwrap();
    let mut torn = named.clone();
    established(&mut torn).wrapped[0][50] ^= 1;
    assert_eq!(refusal(&rig, &mut boot, &torn), Code::RootChain);
    assert_eq!(accept(&rig, &mut boot, &named).unwrap(), Accepted::InForce);
    let new = key(&boot.life, 2);
    drop(boot);
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Operational);
    assert_eq!((key(&boot.life, 1), key(&boot.life, 2)), (old, new));
}

#[test]
fn a_split_anew_keeps_the_root() {
    let rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let asking = asking(&base, false, 3);
    accept(&rig, &mut boot, &asking).unwrap();
    let answer = boot.life.genesis().unwrap();
    let before = base.root.established.as_ref();
    assert_eq!(answer.generation, 1);
    assert_eq!(Some(answer.fingerprint), before.map(|before| before.fingerprint));
    let named = named(&rig.site, &asking, &answer).unwrap();
    assert_eq!(accept(&rig, &mut boot, &named).unwrap(), Accepted::InForce);
}

#[test]
fn another_tpm_another_disk_and_an_older_disk_open_nothing() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let mut bundle = establish(&rig, &mut boot).unwrap();
    let two_ago = rig.disk.copy();
    for _ in 0..2 {
        bundle = again(&bundle);
        accept(&rig, &mut boot, &bundle).unwrap();
    }
    drop(boot);
    let good = rig.keep().unwrap();

    rig.restore(&good).unwrap();
    rig.disk = two_ago.copy();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot), "a disk of two bundles ago");
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    drop(boot);

    rig.restore(&good).unwrap();
    rig.disk = casemate_tests::disk::TestDisk::blank(4096);
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Unprovisioned, "another, blank disk");
    drop(boot);

    // Another box of the same site: its own TPM under this disk, listed or not.
    rig.restore(&good).unwrap();
    let own = std::mem::replace(&mut rig.soft, casemate_tests::swtpm::SoftTpm::blank().unwrap());
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NotListed), "another TPM");
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    drop((boot, own));
}

#[test]
fn a_cleared_tpm_is_locked_and_goes_on_with_a_new_life() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let bundle = establish(&rig, &mut boot).unwrap();
    drop(boot);
    rig.soft.clear().unwrap();
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot));
    assert_eq!(accept(&rig, &mut boot, &again(&bundle)).unwrap(), Accepted::InForce);
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot));
    assert_eq!(boot.life.genesis().unwrap_err().code, Code::GenesisNotAsked);
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn a_foreign_owner_authorisation_locks_and_does_not_stop() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    establish(&rig, &mut boot).unwrap();
    drop(boot);
    rig.soft.own(b"somebody else").unwrap();
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::DoesNotOpen));
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn a_retired_box_keeps_nothing_not_even_on_the_disk_of_before() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let before = rig.disk.copy();
    let mut retiring = again(&base);
    retiring.hosts[0].retired = true;
    assert_eq!(accept(&rig, &mut boot, &retiring).unwrap(), Accepted::Retired);
    assert!(boot.life.chain().is_none());
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::Retired));
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::Retired));
    assert_eq!(boot.life.genesis().unwrap_err().code, Code::Retired);
    let mut back = again(&retiring);
    back.hosts[0].retired = false;
    assert_eq!(refusal(&rig, &mut boot, &back), Code::Retired);
    drop(boot);
    rig.disk = before;
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot), "the disk of before");
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn a_host_that_is_to_keep_nothing_serves_until_it_reboots() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let base = establish(&rig, &mut boot).unwrap();
    let mut unsealed = again(&base);
    unsealed.hosts[0].sealed = false;
    assert_eq!(accept(&rig, &mut boot, &unsealed).unwrap(), Accepted::InForce);
    assert_eq!(boot.life.phase(), Phase::Operational);
    drop(boot);
    rig.power_cycle().unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NotSealed));
    assert!(boot.life.chain().is_none());
    assert_eq!(accept(&rig, &mut boot, &again(&unsealed)).unwrap(), Accepted::InForce);
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NotSealed));
}
