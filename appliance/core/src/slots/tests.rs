//! Plans one by one, then random histories on a model of disk and counter with the power cut after any
//! step.

use proptest::prelude::*;

use super::*;

fn digest(seq: u64) -> Digest {
    Digest::sha256(&seq.to_be_bytes())
}

fn slot(seq: u64, write_number: u64, label: u64, blob: Blob) -> Option<Slot> {
    Some(Slot { seq, write_number, digest: digest(seq), label, blob })
}

fn plan(view: &View, seq: u64, keep: Keep) -> Plan {
    match view.accept(seq, &digest(seq), keep).expect("accepted") {
        Accept::Write(plan) => plan,
        Accept::InForce => panic!("already in force"),
    }
}

const EMPTY: View = View { slots: [None; SLOTS], counter: None };

#[test]
fn the_first_bundle_is_written_without_a_blob_and_moves_no_counter() {
    let plan = plan(&EMPTY, 1, Keep::Leave);
    assert_eq!((plan.slot, plan.write_number, plan.blob), (0, 1, false));
    assert_eq!((plan.new_life, plan.raise_to()), (false, None));
    assert_eq!(EMPTY.seal_again(), None, "nothing is in force");
}

#[test]
fn sealing_without_a_live_slot_begins_a_new_life_at_the_counter() {
    let view = View { slots: [slot(7, 3, 0, Blob::None), None, None], counter: Some(500) };
    let plan = view.seal_again().expect("a bundle is in force");
    assert!(plan.new_life && plan.blob);
    assert_eq!(plan.label(500 + NEW_LIFE), 500 + NEW_LIFE);
    assert_eq!((plan.slot, plan.write_number, plan.raise_to()), (1, 4, None));
}

#[test]
fn orphans_of_an_earlier_life_die_in_the_65_increments() {
    // Whatever an orphan's label is, before it is either out of the window or dead after.
    for label in 0..300 {
        let before =
            View { slots: [slot(1, 1, label, Blob::Failed), None, None], counter: Some(100) };
        assert!(before.seal_again().expect("in force").new_life);
        let after = View { counter: Some(100 + NEW_LIFE), ..before };
        let failed = after.slots[0].expect("there");
        let reached = failed.label >= 100 && failed.label <= 164;
        assert!(!reached || !failed.in_window(100 + NEW_LIFE), "{label}");
    }
}

#[test]
fn an_accept_moves_the_label_by_the_step_of_the_numbers() {
    let view = View { slots: [slot(10, 4, 90, Blob::Opened), None, None], counter: Some(90) };
    let plan = plan(&view, 13, Keep::Seal);
    assert_eq!((plan.label(90), plan.raise_to(), plan.write_number), (93, Some(93), 5));
    assert_ne!(plan.slot, 0);
}

#[test]
fn a_step_of_64_is_accepted_and_of_65_refused_while_a_slot_lives() {
    for blob in [Blob::Opened, Blob::Untried] {
        let view = View { slots: [slot(10, 4, 90, blob), None, None], counter: Some(90) };
        for keep in [Keep::Seal, Keep::Leave] {
            assert!(view.accept(74, &digest(74), keep).is_ok());
            let refused = Err(Refused::SeqStep { sealed: 10 });
            assert_eq!(view.accept(75, &digest(75), keep), refused);
            assert_eq!(view.accept(u64::MAX, &digest(1), keep), refused);
        }
    }
    for blob in [Blob::None, Blob::Failed] {
        let view = View { slots: [slot(10, 4, 90, blob), None, None], counter: Some(90) };
        assert!(view.accept(1_000, &digest(1_000), Keep::Seal).is_ok(), "nothing lives");
    }
}

#[test]
fn a_lower_number_a_fork_and_the_bundle_in_force_are_told_apart() {
    let view = View { slots: [None, slot(10, 4, 90, Blob::Opened), None], counter: Some(90) };
    let accept = |seq, digest: Digest| view.accept(seq, &digest, Keep::Seal);
    assert_eq!(accept(9, digest(9)), Err(Refused::SeqLower { in_force: 10 }));
    assert_eq!(accept(10, digest(11)), Err(Refused::SeqFork));
    assert_eq!(accept(10, digest(10)), Ok(Accept::InForce));
}

#[test]
fn an_accept_in_locked_spares_the_may_live_slot_with_the_highest_label() {
    let slots = [
        slot(12, 9, 0, Blob::None),
        slot(11, 8, 101, Blob::Untried),
        slot(10, 7, 100, Blob::Untried),
    ];
    let view = View { slots, counter: Some(100) };
    assert_eq!(plan(&view, 13, Keep::Leave).slot, 2, "not in force, not the highest label");
}

#[test]
fn a_slot_that_failed_on_this_boot_does_not_count_as_living() {
    let slots = [slot(12, 9, 112, Blob::Failed), slot(11, 8, 111, Blob::Untried), None];
    let view = View { slots, counter: Some(111) };
    assert_eq!(view.candidates(), [1]);
    assert_eq!(view.in_force(), Some(0), "its bundle is in force all the same");
}

#[test]
fn after_an_interrupted_accept_the_newest_blob_is_tried_first_and_then_finished() {
    let slots = [slot(10, 4, 90, Blob::Untried), slot(12, 5, 92, Blob::Untried), None];
    let mut view = View { slots, counter: Some(91) };
    assert_eq!(view.candidates(), [1], "the old one died with the first increment");
    view.counter = Some(90);
    assert_eq!(view.candidates(), [1, 0]);
    assert_eq!(view.finish(), None, "no increment before a blob opened");
    view.slots[1] = slot(12, 5, 92, Blob::Opened);
    assert_eq!((view.finish(), view.reseal()), (Some(92), None));
}

#[test]
fn an_older_blob_that_opens_is_sealed_anew_under_the_bundle_in_force() {
    let slots = [slot(10, 4, 90, Blob::Opened), slot(12, 5, 0, Blob::None), None];
    let view = View { slots, counter: Some(90) };
    let plan = view.reseal().expect("not the one in force");
    assert_eq!((plan.slot, plan.write_number, plan.blob), (2, 6, true));
    assert_eq!((plan.label(90), plan.raise_to()), (92, Some(92)));
}

#[test]
fn destroying_raises_the_counter_beyond_every_blob_that_may_live() {
    let slots = [slot(10, 4, 90, Blob::Opened), slot(11, 5, 91, Blob::Failed), None];
    let view = View { slots, counter: Some(90) };
    let plan = plan(&view, 500, Keep::Destroy);
    assert_eq!((plan.blob, plan.raise_to()), (false, Some(92)));
    assert_eq!(View { counter: Some(92), ..view }.destroy(), None);
}

#[test]
fn labels_and_numbers_at_their_end_do_not_overflow() {
    let end = u64::MAX;
    let slots = [slot(end, end, end, Blob::Opened), slot(1, 1, end, Blob::Untried), None];
    let view = View { slots, counter: Some(end) };
    assert!(view.seal_again().is_some());
    assert_eq!(view.destroy(), Some(end));
    assert_eq!(view.candidates().len(), 2);
}

/// A box as its disk and TPM remember it. A blob opens when counter <= label: what the TPM enforces.
#[derive(Clone, Debug)]
struct Machine {
    slots: [Option<Slot>; SLOTS],
    counter: Option<u64>,
    /// Highest counter the TPM ever had: a counter defined anew starts above it.
    highest: u64,
    /// Steps until the power is cut.
    power: u32,
    /// Highest number of a bundle that was answered as accepted.
    answered: u64,
    /// Highest number that was ever pushed.
    pushed: u64,
    /// A blob was sealed and answered for: from now on some blob opens at every boot.
    kept: bool,
    /// What is in memory.
    open: bool,
    attempts: [Blob; SLOTS],
}

struct PowerCut;

impl Machine {
    fn new() -> Self {
        Self {
            slots: [None; SLOTS],
            counter: None,
            highest: 0,
            power: u32::MAX,
            answered: 0,
            pushed: 0,
            kept: false,
            open: false,
            attempts: [Blob::Untried; SLOTS],
        }
    }

    fn view(&self) -> View {
        let mut slots = self.slots;
        for (slot, attempt) in slots.iter_mut().zip(self.attempts) {
            if let Some(slot) = slot.as_mut().filter(|slot| slot.blob != Blob::None) {
                slot.blob = attempt;
            }
        }
        View { slots, counter: self.counter }
    }

    fn step(&mut self) -> Result<(), PowerCut> {
        self.power = self.power.checked_sub(1).ok_or(PowerCut)?;
        Ok(())
    }

    fn raise(&mut self, target: u64) -> Result<(), PowerCut> {
        while self.counter.is_some_and(|counter| counter < target) {
            self.step()?;
            self.counter = self.counter.map(|counter| counter + 1);
            self.highest = self.highest.max(self.counter.unwrap_or(0));
        }
        Ok(())
    }

    fn carry_out(&mut self, plan: &Plan, seq: u64) -> Result<(), PowerCut> {
        if plan.new_life {
            self.step()?;
            self.counter = Some(self.counter.unwrap_or(self.highest));
            let target = self.counter.unwrap_or(0) + NEW_LIFE;
            self.raise(target)?;
        }
        let label = plan.label(self.counter.unwrap_or(0));
        self.slots[plan.slot] = None;
        self.step()?; // A write that is cut here is torn.
        let blob = if plan.blob { Blob::Untried } else { Blob::None };
        self.slots[plan.slot] = slot(seq, plan.write_number, label, blob);
        self.attempts[plan.slot] = Blob::Opened;
        self.step()?;
        self.raise(plan.raise_to().unwrap_or(0))
    }

    fn boot(&mut self, tries: bool) -> Result<(), PowerCut> {
        self.open = false;
        self.attempts = [Blob::Untried; SLOTS];
        if !tries {
            return Ok(());
        }
        for index in self.view().candidates() {
            let label = self.slots[index].expect("a candidate is there").label;
            if self.counter.is_some_and(|counter| counter <= label) {
                self.attempts[index] = Blob::Opened;
                self.open = true;
                break;
            }
            self.attempts[index] = Blob::Failed;
        }
        self.raise(self.view().finish().unwrap_or(0))?;
        if let Some(plan) = self.view().reseal() {
            let seq = self.view().in_force().and_then(|i| self.slots[i]).map_or(0, |s| s.seq);
            self.carry_out(&plan, seq)?;
        }
        Ok(())
    }

    fn push(&mut self, seq: u64, keep: Keep) -> Result<(), PowerCut> {
        if let Ok(Accept::Write(plan)) = self.view().accept(seq, &digest(seq), keep) {
            self.pushed = self.pushed.max(seq);
            self.kept &= keep != Keep::Destroy;
            self.carry_out(&plan, seq)?;
            self.answered = seq;
            self.kept |= keep == Keep::Seal;
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), PowerCut> {
        let newest = self.view().in_force().and_then(|i| self.slots[i]).map_or(0, |s| s.seq);
        match *action {
            Action::Push(step) => {
                self.push(newest + step, if self.open { Keep::Seal } else { Keep::Leave })
            }
            Action::Destroy => {
                self.open = false;
                self.push(newest + 1, Keep::Destroy)
            }
            Action::Bring => {
                if let Some(plan) = self.view().seal_again() {
                    self.carry_out(&plan, newest)?;
                    (self.open, self.kept) = (true, true);
                }
                Ok(())
            }
            Action::ClearTpm => {
                (self.counter, self.kept, self.open) = (None, false, false);
                self.slots.iter_mut().flatten().for_each(|slot| {
                    if slot.blob != Blob::None {
                        slot.blob = Blob::None; // Of another TPM: never opens.
                    }
                });
                Ok(())
            }
            Action::Boot => self.boot(true),
            Action::BootWithoutTrying => self.boot(false),
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// A bundle with a number this much higher.
    Push(u64),
    /// A bundle that wants nothing kept.
    Destroy,
    /// A root from outside (genesis, shares, forward).
    Bring,
    /// Somebody clears the TPM.
    ClearTpm,
    Boot,
    /// Locked: crash loop, or an image that is not listed.
    BootWithoutTrying,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1u64..=70).prop_map(Action::Push),
        1 => Just(Action::Destroy),
        3 => Just(Action::Bring),
        1 => Just(Action::ClearTpm),
        3 => Just(Action::Boot),
        2 => Just(Action::BootWithoutTrying),
    ]
}

fn check(machine: &mut Machine) -> Result<(), TestCaseError> {
    machine.power = u32::MAX;
    prop_assert!(machine.boot(true).is_ok());
    let view = machine.view();
    let in_force = view.in_force().and_then(|i| view.slots[i]).map_or(0, |slot| slot.seq);
    prop_assert!(in_force >= machine.answered, "an answered bundle is lost");
    prop_assert!(in_force <= machine.pushed, "a bundle out of nowhere");
    if machine.kept {
        prop_assert!(machine.open, "no blob opens: {machine:?}");
    }
    if machine.open {
        let (index, opened) = view.opened().expect("open");
        prop_assert_eq!(Some(index), view.in_force(), "sealed under the bundle in force");
        prop_assert_eq!(Some(opened.label), view.counter, "nothing older opens any more");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_after_any_step_leaves_the_right_bundle_and_a_blob_that_opens(
        history in proptest::collection::vec((action(), 0u32..80), 1..24),
    ) {
        let mut machine = Machine::new();
        for (action, cut) in history {
            machine.power = if cut < 12 { cut } else { cut.saturating_sub(12) * 8 };
            if machine.act(&action).is_err() {
                check(&mut machine)?;
            }
        }
        check(&mut machine)?;
    }

    #[test]
    fn no_plan_writes_over_the_slot_in_force_or_the_one_that_must_survive(
        slots in proptest::array::uniform3(proptest::option::of((0u64..6, 0u64..9, 0u64..200, 0usize..4))),
        counter in proptest::option::of(0u64..150),
        seq in 0u64..200,
        keep in 0usize..3,
    ) {
        let blobs = [Blob::None, Blob::Untried, Blob::Opened, Blob::Failed];
        let slots = slots.map(|s| s.and_then(|(seq, write, label, blob)| slot(seq, write, label, blobs[blob])));
        let view = View { slots, counter };
        let keep = [Keep::Seal, Keep::Leave, Keep::Destroy][keep];
        let plans = [view.reseal(), view.seal_again(), match view.accept(seq, &digest(seq), keep) {
            Ok(Accept::Write(plan)) => Some(plan),
            _ => None,
        }];
        for plan in plans.into_iter().flatten() {
            prop_assert_ne!(Some(plan.slot), view.in_force());
            prop_assert_ne!(Some(plan.slot), view.base().map(|(index, _)| index));
            let highest = view.slots.iter().flatten().map(|slot| slot.write_number).max();
            prop_assert!(plan.write_number > highest.unwrap_or(0));
        }
    }
}
