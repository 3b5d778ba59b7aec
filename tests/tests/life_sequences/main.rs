//! A life in any order: bundles good and bad, genesis, shares, envelopes, reboots, other images, cleared
//! TPMs, blank and older disks, power cuts. No sequence loses the root or opens what should be closed.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

mod world;

use casemate_tests::{life::Measured, power::campaign};
use proptest::{prelude::*, test_runner::Config};

use world::World;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next bundle: the same again, with a higher number.
    Next,
    /// One that asks for the next root.
    AskRoot,
    /// One that asks for the same root in other shares.
    AskSplit,
    /// One that names the newest genesis answer.
    Name,
    /// One that names the answer before.
    NameFormer,
    /// One by which this host keeps nothing, or keeps it again.
    Unseal,
    /// One by which this host is to destroy what it holds.
    Retire,
    /// An image is about to be tried, or is no longer.
    Trial,
    /// A signed one that must be refused.
    Bad(Flaw),
    Genesis,
    /// Two custodians' shares of the split in force.
    Shares,
    /// One custodian's, twice; or such as must be refused.
    BadShares(Spoilt),
    /// The right root, if anybody knows it, with or without a pending one.
    Envelope {
        pending: bool,
    },
    Reboot,
    /// Three panics came before.
    Panics,
    /// Another image that no bundle lists.
    RebootUnlisted,
    ClearTpm,
    BlankDisk,
    /// The disk of some time ago, or the one that was there before that.
    OldDisk,
    /// The power goes at the so-manieth event from here.
    CutAfter(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Lower,
    Fork,
    OneSigner,
    NotListed,
    RootDropped,
    MissingAck,
    OtherRoot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoilt {
    Once,
    Flipped,
    OtherBoot,
    OtherBundle,
    OtherRoot,
    ForgedEnvelope,
}

const FLAWS: [Flaw; 7] = [
    Flaw::Lower,
    Flaw::Fork,
    Flaw::OneSigner,
    Flaw::NotListed,
    Flaw::RootDropped,
    Flaw::MissingAck,
    Flaw::OtherRoot,
];
const SPOILT: [Spoilt; 6] = [
    Spoilt::Once,
    Spoilt::Flipped,
    Spoilt::OtherBoot,
    Spoilt::OtherBundle,
    Spoilt::OtherRoot,
    Spoilt::ForgedEnvelope,
];

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Next),
        2 => Just(Step::AskRoot),
        1 => Just(Step::AskSplit),
        4 => Just(Step::Name),
        1 => Just(Step::NameFormer),
        1 => Just(Step::Unseal),
        1 => Just(Step::Retire),
        1 => Just(Step::Trial),
        3 => prop::sample::select(&FLAWS[..]).prop_map(Step::Bad),
        4 => Just(Step::Genesis),
        4 => Just(Step::Shares),
        2 => prop::sample::select(&SPOILT[..]).prop_map(Step::BadShares),
        2 => any::<bool>().prop_map(|pending| Step::Envelope { pending }),
        2 => Just(Step::Reboot),
        1 => Just(Step::RebootUnlisted),
        1 => Just(Step::Panics),
        2 => Just(Step::ClearTpm),
        1 => Just(Step::BlankDisk),
        1 => Just(Step::OldDisk),
        3 => (0_u8..40).prop_map(Step::CutAfter),
    ]
}

/// Sequences of one run of the tests; `CASEMATE_CAMPAIGN` makes it more.
fn config() -> Config {
    let seeds = campaign(96);
    let cases = u32::try_from(seeds.end - seeds.start).unwrap_or(u32::MAX);
    Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() }
}

#[test]
fn no_sequence_loses_the_root_or_opens_what_should_be_closed() {
    let strategy = (any::<bool>(), prop::collection::vec(any_step(), 1..24));
    proptest!(config(), |((established, steps) in strategy)| {
        let mut world = World::new();
        if established {
            for step in [Step::Next, Step::Genesis, Step::Name] {
                world.step(step);
            }
        }
        for step in steps {
            world.step(step);
        }
        world.recover();
    });
}

#[test]
fn every_pair_of_steps_in_either_order_ends_with_the_root_at_hand() {
    const STEPS: [Step; 22] = [
        Step::Next,
        Step::AskRoot,
        Step::AskSplit,
        Step::Name,
        Step::NameFormer,
        Step::Unseal,
        Step::Retire,
        Step::Trial,
        Step::Bad(Flaw::OtherRoot),
        Step::Bad(Flaw::Fork),
        Step::Genesis,
        Step::Shares,
        Step::BadShares(Spoilt::Flipped),
        Step::BadShares(Spoilt::ForgedEnvelope),
        Step::Envelope { pending: true },
        Step::Envelope { pending: false },
        Step::Reboot,
        Step::Panics,
        Step::RebootUnlisted,
        Step::ClearTpm,
        Step::BlankDisk,
        Step::OldDisk,
    ];
    // Walks through every ordered pair in few lives: after step i, step j, for all of them.
    for (at, first) in STEPS.into_iter().enumerate() {
        let mut world = World::new();
        for step in [Step::Next, Step::Genesis, Step::Name] {
            world.step(step);
        }
        for second in STEPS.into_iter().cycle().skip(at).take(STEPS.len()) {
            world.measured = Measured::LISTED;
            world.step(first);
            world.step(second);
            if world.is_retired() {
                // Set up anew: the walk goes on.
                for step in [Step::BlankDisk, Step::Next, Step::Shares] {
                    world.step(step);
                }
            }
        }
        world.recover();
    }
}
