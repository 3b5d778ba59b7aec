//! A machine on paper, whose power goes at every step of every plan: it always starts an image that is
//! listed and works, and none stays that did not answer.

use proptest::prelude::*;

use super::*;

const A: u16 = 4;
const B: u16 = 1;
/// Somebody else's entry.
const OTHER: u16 = 0;

/// An image: whether it comes up and serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Image {
    id: u8,
    good: bool,
}

impl Image {
    fn digest(self) -> Digest {
        Digest([self.id; 32])
    }
}

#[derive(Clone, Debug)]
struct Machine {
    /// `None`: no file system.
    esps: [Option<Image>; 2],
    order: Vec<u16>,
    next: Option<u16>,
    sector: TrialSector,
}

/// Where the power goes: before this step, or in the middle of it.
#[derive(Clone, Copy, Debug)]
struct Cut {
    step: usize,
    within: bool,
}

fn at(esp: Esp) -> usize {
    usize::from(esp == Esp::B)
}

fn esp(number: u16) -> Option<Esp> {
    match number {
        A => Some(Esp::A),
        B => Some(Esp::B),
        _ => None,
    }
}

impl Machine {
    fn new(image: Image) -> Self {
        Self {
            esps: [Some(image); 2],
            order: vec![OTHER, A, B],
            next: None,
            sector: TrialSector::IDLE,
        }
    }

    /// The firmware: once what it was told, else in order; what is no file system is passed over.
    fn start(&mut self) -> (Esp, Image) {
        let next = self.next.take();
        let mut all = next.into_iter().chain(self.order.iter().copied()).filter_map(esp);
        let found = all.find_map(|esp| Some((esp, self.esps[at(esp)]?)));
        found.expect("there is always something to start")
    }

    fn standing(&self, running: Esp) -> Standing {
        Standing { running, entries: [A, B], order: self.order.clone() }
    }

    /// Does the steps up to the cut; whether all were done.
    fn carry_out(&mut self, steps: &[Step], content: Image, cut: Option<Cut>) -> bool {
        for (index, step) in steps.iter().enumerate() {
            let cut = cut.filter(|cut| cut.step == index);
            if cut.is_some_and(|cut| !cut.within) {
                return false;
            }
            match step {
                Step::Order(order) => self.order.clone_from(order),
                Step::Blank(esp) => self.esps[at(*esp)] = None,
                // Its first unit comes last: half of it is still no file system.
                Step::Fill(_) if cut.is_some() => {}
                Step::Fill(esp) => self.esps[at(*esp)] = Some(content),
                Step::Note(sector) => self.sector = *sector,
                Step::StartOnce(number) => self.next = Some(*number),
                Step::Restart => {}
            }
            if cut.is_some() {
                return false;
            }
        }
        true
    }

    /// A boot up to where it serves, or its end; `answers`: somebody asks. What serves in the end.
    fn boot(&mut self, listed: &[Image], answers: bool, cut: Option<Cut>) -> Option<Image> {
        let (running, image) = self.start();
        let (boot, note) = Boot::of(self.sector, image.digest());
        self.sector = note.unwrap_or(self.sector);
        let standing = self.standing(running);
        match boot {
            Boot::Trial => {
                if !image.good || !listed.contains(&image) || !answers {
                    // Panic, hang, no unseal, ten minutes: the machine starts again.
                    return None;
                }
                self.carry_out(&standing.commit(), image, cut).then_some(image)
            }
            _ if !listed.contains(&image) => {
                let other = self.esps[at(running.other())].filter(|o| listed.contains(o))?;
                if let Some(steps) = standing.rescue(self.sector, other.digest()) {
                    self.carry_out(&steps, other, cut);
                }
                None
            }
            Boot::Copy => self.carry_out(&standing.copy(), image, cut).then_some(image),
            Boot::Settled | Boot::WentBack(_) => {
                if let Some(step) = standing.settle(self.sector, image.digest()) {
                    self.carry_out(&[step], image, cut);
                }
                image.good.then_some(image)
            }
        }
    }

    /// Boots until something serves; a few are enough whatever happened before.
    fn settle(&mut self, listed: &[Image]) -> Image {
        let served = (0..3).find_map(|_| self.boot(listed, true, None));
        served.unwrap_or_else(|| panic!("nothing serves: {self:?}"))
    }

    /// What the operator does: the image into the other ESP, then armed.
    fn update(&mut self, new: Image, cut: Option<Cut>) {
        let (running, _) = self.start();
        let standing = self.standing(running);
        let taken = standing.take();
        if self.carry_out(&taken, new, cut) {
            let later = cut.map(|cut| Cut { step: cut.step.wrapping_sub(taken.len()), ..cut });
            self.carry_out(&standing.arm(new.digest()), new, later);
        }
    }
}

fn cuts() -> impl Iterator<Item = Option<Cut>> {
    let all = (0..9).flat_map(|step| [false, true].map(|within| Some(Cut { step, within })));
    all.chain([None])
}

const OLD: Image = Image { id: 1, good: true };
const NEW: Image = Image { id: 2, good: true };
const BAD: Image = Image { id: 3, good: false };

#[test]
fn an_update_that_is_cut_anywhere_ends_in_the_old_or_the_new_image() {
    let mut ends = std::collections::BTreeSet::new();
    for cut in cuts() {
        for commit_cut in cuts() {
            let mut machine = Machine::new(OLD);
            machine.update(NEW, cut);
            machine.boot(&[OLD, NEW], true, commit_cut);
            ends.insert(machine.settle(&[OLD, NEW]).id);
        }
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [OLD.id, NEW.id], "both are reached");
}

#[test]
fn an_image_that_does_not_answer_is_started_once_and_never_first() {
    for cut in cuts() {
        let mut machine = Machine::new(OLD);
        machine.update(BAD, cut);
        assert_eq!(machine.settle(&[OLD, BAD]), OLD);
        let standing = machine.standing(Esp::A);
        assert_eq!(standing.first(), Some(Esp::A), "{cut:?}");
        assert_eq!(machine.boot(&[OLD, BAD], true, None), Some(OLD), "and once alone");
    }
}

#[test]
fn a_good_image_that_nobody_asks_goes_back() {
    let mut machine = Machine::new(OLD);
    machine.update(NEW, None);
    assert_eq!(machine.boot(&[OLD, NEW], false, None), None);
    assert_eq!(machine.boot(&[OLD, NEW], true, None), Some(OLD));
    assert_eq!(machine.sector, TrialSector::new(Stage::Tried, NEW.digest()));
}

#[test]
fn after_a_commit_the_copy_leaves_one_image_on_both_whatever_is_cut() {
    for cut in cuts() {
        let mut machine = Machine::new(OLD);
        machine.update(NEW, None);
        assert_eq!(machine.settle(&[OLD, NEW]), NEW);
        assert_eq!(machine.order, [OTHER, B, A], "others stay where they were");
        let (running, _) = machine.start();
        let steps = machine.standing(running).copy();
        machine.carry_out(&steps, NEW, cut);
        assert_eq!(machine.settle(&[NEW]), NEW, "{cut:?}");
        let whole = machine.esps == [Some(NEW); 2];
        assert!(whole || cut.is_some_and(|cut| cut.step == 0 && !cut.within), "{cut:?}");
    }
}

#[test]
fn an_unlisted_image_goes_over_to_a_listed_one_once() {
    let mut machine = Machine::new(OLD);
    machine.esps[1] = Some(NEW);
    assert_eq!(machine.boot(&[NEW], true, None), None, "it leaves");
    assert_eq!(machine.boot(&[NEW], true, None), Some(NEW), "a trial that is answered");
    assert_eq!(machine.order, [OTHER, B, A]);
    let mut machine = Machine::new(OLD);
    machine.esps[1] = Some(BAD);
    assert_eq!(machine.boot(&[BAD], true, None), None);
    assert_eq!(machine.boot(&[BAD], true, None), None);
    let before = machine.clone();
    assert_eq!(machine.boot(&[BAD], true, None), None);
    assert_eq!((machine.next, machine.sector), (None, before.sector), "not a second time");
}

#[test]
fn an_order_that_names_neither_gets_the_running_one_in_front() {
    let standing = Standing { running: Esp::B, entries: [A, B], order: vec![OTHER] };
    assert_eq!(standing.first(), None);
    assert_eq!(standing.commit()[0], Step::Order(vec![B, OTHER]));
}

proptest! {
    /// Years of updates, good and bad, with the power going anywhere.
    #[test]
    fn whatever_is_cut_a_listed_image_that_works_serves(
        life in prop::collection::vec((0..9usize, any::<bool>(), any::<bool>(), any::<bool>(), 0..9usize), 1..24)
    ) {
        let mut machine = Machine::new(OLD);
        let mut serving = OLD;
        for (index, (step, within, good, answers, again)) in life.into_iter().enumerate() {
            let new = Image { id: 10 + u8::try_from(index).expect("few"), good };
            let listed = [serving, new];
            machine.update(new, Some(Cut { step, within }));
            machine.boot(&listed, answers, Some(Cut { step: again, within }));
            serving = machine.settle(&listed);
            prop_assert!(serving.good && listed.contains(&serving));
            // The bundle drops what does not serve; the copy may be cut as well.
            let (running, _) = machine.start();
            let standing = machine.standing(running);
            prop_assert_eq!(standing.first(), Some(running));
            machine.carry_out(&standing.copy(), serving, Some(Cut { step: again, within }));
            prop_assert_eq!(machine.settle(&[serving]), serving);
        }
    }
}
