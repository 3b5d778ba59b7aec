//! PID 1's way from the kernel's hand-over to where a port may be opened: a chain of states, each
//! consumed by the next step, so that no step can be left out or taken twice.
//!
//! ```text
//! Mounted --tpm--> WithTpm --keys--> Keyed --seed--> Seeded --posture--> Sound
//!   --disk--> WithDisk --enter--> Entered --unseal, leave--> Left
//! ```
//!
//! A step that cannot be taken is a [`Refusal`]: it is named on the console, and the boot stops there,
//! with the watchdog fed, nothing unsealed and no network.

mod crash;
mod entropy;
mod mounts;
mod posture;
mod refusal;
mod root;
mod secure_boot;
mod storage;
mod trial;

use std::{thread, time::Duration};

pub use self::{
    entropy::Seeded,
    mounts::{Mounted, since_start},
    posture::Sound,
    refusal::Refusal,
    root::{Entered, Left},
    secure_boot::{Keyed, WithTpm},
    storage::WithDisk,
};
use crate::{
    platform::console::{Word, say},
    pulse,
};

/// Why the boot stops: at least one refusal. A step that looks at several things names them all.
#[derive(Debug)]
pub struct Stop(Vec<Refusal>);

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self(vec![refusal])
    }
}

impl Stop {
    /// `Err` when there is anything to refuse.
    fn unless_empty(refusals: Vec<Refusal>) -> Result<(), Self> {
        if refusals.is_empty() { Ok(()) } else { Err(Self(refusals)) }
    }

    /// Names every refusal with what to do, and stays there for good. The watchdog goes on being fed:
    /// a machine that reboots every minute is harder to look at than one that stands still. An image on
    /// trial leaves, once.
    pub fn stay(self) -> ! {
        pulse::BOOT.rest();
        for refusal in &self.0 {
            say(Word::Refused, refusal.name());
            say(Word::Found, refusal);
            say(Word::Next, refusal.next());
        }
        trial::leave_if_on_trial();
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    }
}
