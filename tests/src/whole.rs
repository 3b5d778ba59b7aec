//! A whole box under one power switch: TPM, disk, life of the root, log and house; all but the port.
//! It notes what it was answered, so that after a cut everything can be held against it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use casemate_appliance::{
    audit::{Identity, Log},
    life::{Accepted, Refused, Taken},
    platform::clock::Clock,
    serve::{self, BootFacts, House},
    tpm::Tpm,
};
use casemate_core::phase::Phase;
use casemate_formats::{
    audit::{
        block::leaf,
        checkpoint::{self, Checkpoint},
        record::{Event, Record, Slug},
        tree,
    },
    bundle::{Bundle, body::Host},
    digest::Digest,
    genesis::Answer,
    share::{Message, seal::Contents},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use tokio::runtime::{Builder, Runtime};

use crate::{
    life::{self, Boot, Rig},
    log::{clock, item, label, numbers},
    loopback::Loopback,
    recovery::Shares,
};

/// A box that is on.
pub struct On {
    /// Its rooms.
    pub house: House,
    /// Its TPM.
    pub tpm: Tpm,
    runtime: Runtime,
}

/// What a box answered, as far as anyone outside knows.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Numbers of items whose records are durable, in order.
    pub items: Vec<u32>,
    /// The next number.
    pub next: u32,
    /// Which log they are in.
    pub log: Option<Identity>,
    /// A checkpoint that was given out.
    pub checkpoint: Option<Checkpoint>,
    /// Number of the bundle that was answered last.
    pub seq: u64,
}

impl On {
    /// Goes on where [`Rig::boot`] stopped: the log starts if the root is open.
    ///
    /// # Errors
    /// No key for the port.
    pub fn new(boot: Boot) -> Result<Self> {
        let Boot { life, tpm, ring, measured } = boot;
        let facts = BootFacts {
            image: measured.image(),
            event_log: Vec::new(),
            addresses: Box::new(Vec::new),
            network: Box::new(Loopback::new(&life, serve::doors().0)),
            clock: Clock::machine(),
            announce: Box::new(|_| {}),
            leave: Box::new(|| {}),
            updates: None,
        };
        let house = House::open(facts, tpm.clone(), life, Log::before_root(clock()), ring)?;
        Ok(Self { house, tpm, runtime: Builder::new_current_thread().enable_time().build()? })
    }

    /// Boots a rig that has power.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn boot(rig: &Rig) -> Result<Self> {
        Self::new(rig.boot()?)
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.house.snapshot().phase
    }

    /// Number of the bundle in force; 0: none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.house.snapshot().bundle.as_ref().map_or(0, |bundle| bundle.bundle().site.seq)
    }

    /// A key of a generation, to compare roots by.
    #[must_use]
    pub fn key(&self, generation: u32) -> Option<[u8; 32]> {
        life::key(&self.house.life(), generation)
    }

    /// Whether values can be decrypted: the root is open, the log runs and was not rolled back.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.house.snapshot().is_serving() && !self.house.log.health().rolled_back
    }

    /// This box as a bundle lists it.
    #[must_use]
    pub fn record(&self) -> Host {
        life::host_record(&self.tpm)
    }

    /// Takes an envelope as `POST /v1/bundle` does.
    ///
    /// # Errors
    /// It refuses.
    pub fn accept(&self, envelope: &[u8]) -> Result<Accepted, Refused> {
        let outcome = {
            let mut life = self.house.life();
            let outcome = life.accept(envelope)?;
            self.house.refresh(&life);
            outcome
        };
        if outcome != Accepted::Again
            && let Some(bundle) = &self.house.snapshot().bundle
        {
            let (seq, digest) = (bundle.bundle().site.seq, bundle.digest());
            let noted = self.house.log.record(Event::BundleAccepted { seq, digest });
            self.runtime.block_on(noted).map_err(|error| Refused {
                code: casemate_formats::code::Code::AuditUnavailable,
                bundle: None,
                detail: Some(error.to_string()),
            })?;
        }
        Ok(outcome)
    }

    /// Signs a bundle and takes it.
    ///
    /// # Errors
    /// It refuses.
    pub fn push(&self, rig: &Rig, bundle: &Bundle) -> Result<Accepted> {
        self.accept(&rig.site.sign(bundle)?)
            .map_err(|refused| anyhow!("{}: {}", refused.code, refused.detail.unwrap_or_default()))
    }

    /// Takes shares or an envelope as `POST /v1/shares` does; they are sealed to this boot first.
    ///
    /// # Errors
    /// It refuses.
    pub fn take(&self, bundle: &Bundle, contents: &[Contents]) -> Result<Taken, Refused> {
        let mut life = self.house.life();
        let (boot, ek) = (life.hpke_key(), self.tpm.identity().ek.clone());
        let seal = |contents| {
            Message::seal(boot, &ek, bundle, contents, &mut UnwrapErr(SysRng))
                .expect("a bundle with a root")
        };
        let messages: Vec<Message> = contents.iter().map(seal).collect();
        let taken = life.take(&messages)?;
        self.house.refresh(&life);
        Ok(taken)
    }

    /// Makes or shares the root that the bundle in force asks for.
    ///
    /// # Errors
    /// It refuses.
    pub fn genesis(&self) -> Result<Answer> {
        self.house.life().genesis().map_err(|refused| anyhow!("{}", refused.code))
    }

    /// Brings a new box to Operational by bundles 1 and 2; the second is given back.
    ///
    /// # Errors
    /// It refuses.
    pub fn establish(&self, rig: &Rig) -> Result<Bundle> {
        Ok(self.establish_with_shares(rig)?.0)
    }

    /// The same with what the custodians keep.
    ///
    /// # Errors
    /// It refuses.
    pub fn establish_with_shares(&self, rig: &Rig) -> Result<(Bundle, Shares)> {
        let mut bundle = rig.site.bundle(1, vec![self.record()]);
        self.push(rig, &bundle)?;
        let answer = self.genesis()?;
        bundle.site.seq = 2;
        bundle.root.established = Some(life::acknowledged(&rig.site, &answer, None)?);
        self.push(rig, &bundle)?;
        Ok((bundle, Shares::of(&rig.site, &answer)?))
    }

    /// Records of `count` items as one batch, with an alarm behind them if `close`; noted when
    /// answered.
    pub fn serve(&self, known: &mut Answered, count: u32, close: bool) -> bool {
        let numbers = known.next..known.next + count;
        known.next = numbers.end;
        let mut events: Vec<Event> = numbers.clone().map(|n| item("rails", n)).collect();
        if close {
            events.push(alarm("test"));
        }
        let answered = self.runtime.block_on(self.house.log.record_all(events)).is_ok();
        if answered {
            known.items.extend(numbers);
            known.log = self.house.log.identity();
            known.checkpoint = self.checkpoint();
        }
        answered
    }

    /// A collector has every closed block.
    pub fn collect(&self) -> bool {
        let log = &self.house.log;
        self.runtime.block_on(log.collected(&label("audit"), log.health().size)).is_ok()
    }

    /// The hourly tick.
    pub fn tick(&self) -> bool {
        self.runtime.block_on(self.house.log.tick()).is_ok()
    }

    /// The signed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let identity = self.house.log.identity()?;
        let signed = self.house.log.checkpoint()?;
        checkpoint::verify(&signed, &identity.origin, &identity.checkpoint_key).ok()
    }

    /// Holds the log against what was answered: the same log, every acknowledged record once and in
    /// order, every published block as it was.
    ///
    /// # Errors
    /// What is missing.
    pub fn audit(&self, known: &Answered) -> Result<()> {
        if known.items.is_empty() {
            return Ok(());
        }
        let log = &self.house.log;
        ensure!(log.identity() == known.log, "another log");
        // Close the open block, so that all can be collected.
        self.runtime.block_on(log.record(alarm("end")))?;
        let mut blocks = Vec::new();
        while (blocks.len() as u64) < log.health().size {
            let next = blocks.len() as u64;
            blocks.extend(self.runtime.block_on(log.blocks(next, Duration::ZERO))?);
        }
        let leaves: Vec<Digest> = blocks.iter().map(|block| leaf(&block.records)).collect();
        let now = self.checkpoint().context("a checkpoint")?;
        ensure!((now.size, now.root) == (leaves.len() as u64, tree::root(&leaves)), "another tree");
        if let Some(before) = &known.checkpoint {
            let published =
                leaves.get(..usize::try_from(before.size)?).context("blocks are gone")?;
            ensure!(tree::root(published) == before.root, "a published block changed");
        }
        let mut records: Vec<Record> = Vec::new();
        for block in &blocks {
            records.extend(Record::decode_all(&block.records).map_err(|e| anyhow!("{e:?}"))?);
        }
        let seen = numbers(&records);
        let mut rest = seen.iter();
        for number in &known.items {
            ensure!(rest.any(|other| other == number), "the record of item {number} is lost");
        }
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        ensure!(once.len() == seen.len(), "a record stands twice");
        Ok(())
    }
}

/// An alarm, which closes its block.
#[must_use]
pub fn alarm(name: &'static str) -> Event {
    Event::Alarm { name: Slug::fixed(name), client: None, value: None }
}

/// No nonce was ever used twice, on whatever became of a disk.
///
/// # Errors
/// One was.
pub fn nonces_are_fresh(rig: &Rig) -> Result<()> {
    let writes = rig.disk.block_writes();
    let mut nonces: Vec<_> = writes.iter().map(|header| header.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    ensure!(nonces.len() == writes.len(), "a nonce was used twice");
    Ok(())
}
