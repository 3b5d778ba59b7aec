//! What somebody with the disk, and with the TPM under another OS, can write: refused by name, and
//! the root stays where it is.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::{
    state::{Slot, State},
    tpm::{Blob, Counter, SealPolicy, Tpm},
};
use casemate_core::{
    phase::{Phase, Reason},
    root::{self, Root, Sealed},
};
use casemate_formats::{digest::Digest, measure};
use casemate_tests::life::{Kept, Rig, establish, key};
use zeroize::Zeroizing;

/// An Operational box, off, and the slot in force.
fn operational(rig: &mut Rig) -> (Kept, usize, Slot) {
    let mut boot = rig.boot().unwrap();
    establish(rig, &mut boot).unwrap();
    drop(boot);
    let slots = State::open(rig.disk.blocks()).unwrap().slots().unwrap();
    let (index, slot) = slots
        .into_iter()
        .enumerate()
        .filter_map(|(index, slot)| Some((index, slot.ok()?)))
        .max_by_key(|(_, slot)| slot.write_number)
        .unwrap();
    (rig.keep().unwrap(), index, slot)
}

/// Boots with this slot written over the one in force.
fn boot_with(rig: &mut Rig, kept: &Kept, index: usize, slot: &Slot) -> (Phase, bool) {
    rig.restore(kept).unwrap();
    State::open(rig.disk.blocks()).unwrap().write_slot(index, slot).unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    (boot.life.phase(), boot.life.chain().is_some())
}

const LOCKED: fn(Reason) -> (Phase, bool) = |reason| (Phase::Locked(reason), false);

/// Seals as another OS could: the policies of listed images are public, the owner has no secret.
fn forge(rig: &Rig, slot: &Slot, content: &[u8]) -> Slot {
    let tpm = Tpm::open(&rig.soft.tcti(), None).unwrap();
    let policy = SealPolicy { branches: slot.branches.to_vec(), label: slot.label };
    let blob = tpm.seal(Zeroizing::new(content.to_vec()), &policy).unwrap();
    Slot { blob: Some(blob.encode()), ..slot.clone() }
}

#[test]
fn a_flipped_bit_in_any_part_of_the_slot_in_force_is_named_and_opens_nothing() {
    let mut rig = Rig::new().unwrap();
    let (kept, index, slot) = operational(&mut rig);
    let first = 2 + u64::try_from(index).unwrap() * 256;
    let blob = 39 + 32 * slot.branches.len() + 4;
    let blob_length = slot.blob.as_ref().unwrap().len();
    let end = blob + blob_length + slot.bundle.len();
    let parts = [
        ("magic", 3, "slot-foreign"),
        ("format", 17, "slot-version"),
        ("write number", 25, "slot-checksum"),
        ("label", 33, "slot-checksum"),
        ("branch", 40, "slot-checksum"),
        ("blob", blob + blob_length / 2, "slot-checksum"),
        ("bundle", blob + blob_length + 200, "slot-checksum"),
        ("signature", end - 20, "slot-checksum"),
        ("checksum", end + 5, "slot-checksum"),
    ];
    for (part, byte, name) in parts {
        rig.restore(&kept).unwrap();
        rig.disk.flip(first + (byte / 4096) as u64, byte % 4096 * 8 + 2);
        let boot = rig.boot().unwrap();
        assert_eq!(boot.life.damaged(), [(index, name.to_owned())], "{part}");
        // The slot before it is in force again, and its blob died with the counter (or had no root).
        assert!(matches!(boot.life.phase(), Phase::Locked(_)), "{part}: {}", boot.life.phase());
        assert!(boot.life.chain().is_none(), "{part}");
        assert_eq!(boot.tpm.lockout_counter(), Ok(0));
    }
    rig.restore(&kept).unwrap();
    assert_eq!(rig.boot().unwrap().life.phase(), Phase::Operational, "the control: untouched");
}

#[test]
fn a_changed_label_branch_or_blob_with_a_right_checksum_does_not_open() {
    let mut rig = Rig::new().unwrap();
    let (kept, index, slot) = operational(&mut rig);
    let does_not_open = LOCKED(Reason::DoesNotOpen);
    for (label, expected) in [
        (slot.label + 1, does_not_open),
        (slot.label + 64, does_not_open),
        (slot.label - 1, LOCKED(Reason::NoLiveSlot)),
        (u64::MAX, LOCKED(Reason::NoLiveSlot)),
    ] {
        let changed = Slot { label, ..slot.clone() };
        assert_eq!(boot_with(&mut rig, &kept, index, &changed), expected, "label {label}");
    }
    let mut branch = slot.clone();
    branch.branches[0] = measure::branch(Digest::ZERO, Digest::ZERO, Digest::ZERO, Digest::ZERO);
    assert_eq!(boot_with(&mut rig, &kept, index, &branch), does_not_open);
    let mut blob = slot.clone();
    *blob.blob.as_mut().unwrap().last_mut().unwrap() ^= 1;
    assert_eq!(boot_with(&mut rig, &kept, index, &blob), does_not_open);
    let short = Slot { blob: Some(vec![0, 1]), ..slot.clone() };
    assert_eq!(boot_with(&mut rig, &kept, index, &short), does_not_open);
    let none = Slot { blob: None, label: 0, ..slot.clone() };
    assert!(!boot_with(&mut rig, &kept, index, &none).1);
    assert_eq!(boot_with(&mut rig, &kept, index, &slot), (Phase::Operational, true), "the control");
}

#[test]
fn a_bundle_that_the_signers_did_not_sign_is_not_in_force() {
    let mut rig = Rig::new().unwrap();
    let (kept, index, slot) = operational(&mut rig);
    let mut changed = slot.clone();
    let middle = changed.bundle.len() / 2;
    changed.bundle[middle] ^= 1;
    rig.restore(&kept).unwrap();
    State::open(rig.disk.blocks()).unwrap().write_slot(index, &changed).unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.damaged().len(), 1);
    assert_eq!(boot.life.damaged()[0].0, index);
    assert!(boot.life.chain().is_none());
}

#[test]
fn a_blob_that_somebody_else_sealed_is_a_foreign_blob() {
    let mut rig = Rig::new().unwrap();
    let (kept, index, slot) = operational(&mut rig);
    rig.restore(&kept).unwrap();
    let bundle = rig.boot().unwrap().life.bundle().unwrap();
    let mine = || Some(Root::from_random(Zeroizing::new([0x66; 32])));
    let content = |seq, bundle, root, pending| {
        Sealed { seq, bundle, root, pending }.encode().unwrap().to_vec()
    };
    let (seq, digest) = (bundle.bundle().site.seq, bundle.digest());
    let forgeries = [
        content(seq, digest, mine(), None),
        content(seq, digest, mine(), mine()),
        content(seq, digest, None, mine()),
        content(seq + 1, digest, mine(), None),
        content(seq, Digest::ZERO, mine(), None),
        b"not a content at all".to_vec(),
        vec![0; 128],
    ];
    for (number, forgery) in forgeries.iter().enumerate() {
        rig.restore(&kept).unwrap();
        let forged = forge(&rig, &slot, forgery);
        assert!(Blob::decode(forged.blob.as_ref().unwrap()).is_some());
        let expected = LOCKED(Reason::ForeignBlob);
        assert_eq!(boot_with(&mut rig, &kept, index, &forged), expected, "forgery {number}");
    }
}

#[test]
fn a_pending_root_that_somebody_else_sealed_is_never_given_to_custodians() {
    let mut rig = Rig::new().unwrap();
    let mut boot = rig.boot().unwrap();
    let asking = rig.bundle(1, &boot);
    casemate_tests::life::accept(&rig, &mut boot, &asking).unwrap();
    let answer = boot.life.genesis().unwrap();
    let bundle = boot.life.bundle().unwrap();
    drop(boot);
    let slots = State::open(rig.disk.blocks()).unwrap().slots().unwrap();
    let slots = slots.into_iter().enumerate().filter_map(|(index, slot)| Some((index, slot.ok()?)));
    let (index, slot) = slots.max_by_key(|(_, slot)| slot.write_number).unwrap();
    let kept = rig.keep().unwrap();
    rig.restore(&kept).unwrap();
    let mine = Root::from_random(Zeroizing::new([0x66; 32]));
    let fingerprint = root::fingerprint(&mine, 1, &rig.site.anchors.namespace);
    let content = Sealed { seq: 1, bundle: bundle.digest(), root: None, pending: Some(mine) };
    let forged = forge(&rig, &slot, &content.encode().unwrap());
    rig.restore(&kept).unwrap();
    State::open(rig.disk.blocks()).unwrap().write_slot(index, &forged).unwrap();
    let mut boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoRoot));
    let again = boot.life.genesis().unwrap();
    assert_ne!(again.fingerprint, fingerprint, "the attacker's root is shared out");
    assert_ne!(again.fingerprint, answer.fingerprint);
}

#[test]
fn a_counter_that_was_undefined_and_defined_anew_lets_nothing_back_in() {
    let mut rig = Rig::new().unwrap();
    let (kept, ..) = operational(&mut rig);
    rig.restore(&kept).unwrap();
    // TPM2_NV_UndefineSpace by the owner, as another OS can.
    rig.soft.command(0x122, &[0x4000_0001, Counter::Seal.index()], &[]).unwrap();
    let tpm = Tpm::open(&rig.soft.tcti(), None).unwrap();
    tpm.define_counter(Counter::Seal).unwrap();
    drop(tpm);
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::NoLiveSlot));
    assert_eq!(boot.tpm.lockout_counter(), Ok(0));
}

#[test]
fn after_three_panics_the_root_stays_closed_and_the_blob_stays_whole() {
    let mut rig = Rig::new().unwrap();
    let (kept, ..) = operational(&mut rig);
    rig.restore(&kept).unwrap();
    let mut boot = rig.boot_after_panics().unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::CrashLoop));
    assert!(boot.life.chain().is_none());
    let mut next = boot.life.bundle().unwrap().bundle().clone();
    next.site.seq += 1;
    boot.life.accept(&rig.site.sign(&next).unwrap()).unwrap();
    assert_eq!(boot.life.phase(), Phase::Locked(Reason::CrashLoop));
    drop(boot);
    rig.power_cycle().unwrap();
    let boot = rig.boot().unwrap();
    assert_eq!(boot.life.phase(), Phase::Operational);
    assert!(key(&boot.life, 1).is_some());
    assert_eq!(boot.life.bundle().unwrap().bundle(), &next);
}
