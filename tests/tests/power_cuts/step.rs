//! A step that is cut at every point, and what must hold at each next boot.

use casemate_formats::bundle::Bundle;
use casemate_tests::{
    life::{Kept, Measured, Rig},
    power::{Cut, Event},
    whole::{Answered, On, nonces_are_fresh},
};

/// What a step does; whether it was answered.
pub type Act<'a> = &'a dyn Fn(&On, &mut Answered) -> bool;
/// A bundle and its root.
pub type Served = (Bundle, Option<[u8; 32]>);

/// A step that is cut short.
pub struct Step<'a> {
    pub name: &'static str,
    /// The box before it, and what it had answered.
    pub before: (Kept, Answered),
    /// The step on a box that has booted; `None`: the boot itself is the step.
    pub act: Option<Act<'a>>,
    /// What must hold at the next boot; whether the step was answered with success.
    pub check: &'a dyn Fn(&Rig, &On, bool),
}

impl Step<'_> {
    /// Cuts it at every point; how many there were.
    pub fn enumerate(&self, rig: &mut Rig) -> usize {
        let (answered, _, events) = self.run(rig, None);
        assert!(answered, "{}: without a cut it works", self.name);
        let points = points(&events);
        for (n, (event, cut)) in points.iter().enumerate() {
            let (answered, known, _) = self.run(rig, Some((*event, *cut)));
            let context = format!(
                "{}: {:?} (event {event} of {}) left behind as {cut:?}, answered: {answered}",
                self.name,
                events[*event],
                events.len()
            );
            rig.power_cycle().unwrap();
            let on = On::boot(rig).unwrap_or_else(|error| panic!("{context}: {error}"));
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (self.check)(rig, &on, answered);
            }));
            assert!(checked.is_ok(), "{context}");
            on.audit(&known).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(on.tpm.lockout_counter(), Ok(0), "{context}");
            let read = on.reads();
            drop(on);
            // One more boot each: not after every one.
            if read && n % 4 == 0 {
                self.older(rig, &context);
            }
        }
        nonces_are_fresh(rig).unwrap();
        let writes = events.iter().filter(|event| matches!(event, Event::Write(_))).count();
        let commands = events.len() - writes;
        println!("{}: {} points ({commands} commands, {writes} writes)", self.name, points.len());
        points.len()
    }

    /// One run; whether it was answered, what else was, and what happened.
    fn run(&self, rig: &mut Rig, point: Option<(usize, Cut)>) -> (bool, Answered, Vec<Event>) {
        rig.restore(&self.before.0).unwrap();
        let (bus, power) = (rig.bus().unwrap(), rig.disk.power());
        let tpm = rig.enter(&bus.tcti(), Measured::LISTED).unwrap();
        let arm = || {
            let first = power.events().len();
            if let Some((event, cut)) = point {
                power.cut_at(first + event, cut);
            }
            first
        };
        let mut known = self.before.1.clone();
        let (answered, first) = match self.act {
            None => {
                let first = arm();
                // The answer of a boot is that it came up.
                let on = rig.open(tpm, Measured::LISTED).map(|boot| On::new(boot).unwrap());
                (on.is_ok() && !power.is_off(), first)
            }
            Some(act) => {
                let on = On::new(rig.open(tpm, Measured::LISTED).unwrap()).unwrap();
                let first = arm();
                (act(&on, &mut known), first)
            }
        };
        (answered, known, power.events().split_off(first))
    }

    /// The disk of before, under the TPM of now, gives nothing out.
    fn older(&self, rig: &mut Rig, context: &str) {
        let now = rig.disk.copy();
        rig.disk.become_copy_of(&self.before.0.disk());
        rig.power_cycle().unwrap();
        assert!(!On::boot(rig).unwrap().reads(), "{context}: an older disk is read from");
        rig.disk = now;
    }
}

/// Where a step with these events is cut: before each command (and so after the event before it), each
/// write in every way, and after the last event. Of a long row of increments not every one.
pub fn points(events: &[Event]) -> Vec<(usize, Cut)> {
    let last = events.len().saturating_sub(1);
    let mut out = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let row = (40..last.saturating_sub(20)).contains(&n);
        match event {
            Event::Command(_) if row && n % 5 > 0 => {}
            Event::Command(_) => out.push((n, Cut::Lost)),
            Event::Write(_) => {
                let whole = |cut: &Cut| *cut == Cut::Whole;
                out.extend(Cut::ALL.iter().filter(|cut| !whole(cut)).map(|cut| (n, *cut)));
            }
        }
    }
    out.extend((!events.is_empty()).then_some((last, Cut::Whole)));
    out
}

/// A box that is on after `prepare`, kept as it is then.
pub fn rig<T>(prepare: impl FnOnce(&Rig, &On, &mut Answered) -> T) -> (Rig, (Kept, Answered), T) {
    let mut rig = Rig::new().unwrap();
    let on = On::boot(&rig).unwrap();
    let mut known = Answered::default();
    let prepared = prepare(&rig, &on, &mut known);
    drop(on);
    let before = (rig.keep().unwrap(), known);
    (rig, before, prepared)
}

/// An Operational box that has served; its bundle and its root.
pub fn serving() -> (Rig, (Kept, Answered), Served) {
    rig(|rig, on, known| {
        let bundle = on.establish(rig).unwrap();
        assert!(
            on.serve(known, 30, false) && on.serve(known, 2, true) && on.serve(known, 3, false)
        );
        (bundle, on.key(1))
    })
}
