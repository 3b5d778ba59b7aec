//! How this boot's log begins: once, as soon as a root is at hand. At a boot that opened its root it is
//! the house that begins it; a root that comes in later is kept only once its log stands on the disk.

use std::sync::{Arc, Mutex, PoisonError};

use casemate_core::root::Chain;
use casemate_formats::{
    bundle::{Bundle, body::Host},
    code::Code,
};

use crate::{
    audit::{Log, Start, StartError, Terms, TickCounter, TickError},
    life::{BeginLog, Refused},
    platform::clock::Clock,
    state::Ring,
    tpm::{Counter, Tpm},
};

/// A log that has yet to begin, or runs.
pub(super) struct Beginning {
    log: Log,
    tpm: Tpm,
    clock: Clock,
    /// Taken when the log starts.
    ring: Mutex<Option<Ring>>,
}

impl Beginning {
    pub(super) fn new(log: &Log, tpm: &Tpm, clock: &Clock, ring: Ring) -> Self {
        let ring = Mutex::new(Some(ring));
        Self { log: log.clone(), tpm: tpm.clone(), clock: clock.clone(), ring }
    }

    /// What [`crate::life::Life::before_keeping`] takes. Terms of a log that runs stay as they are: the
    /// bundle is not in force yet.
    pub(super) fn hook(self: Arc<Self>) -> BeginLog {
        Box::new(move |chain, bundle, host, from_blob| {
            let begun = self.begins(chain, bundle, host, from_blob);
            begun.map(|_| ()).map_err(|error| Refused {
                code: Code::AuditUnavailable,
                bundle: None,
                detail: Some(format!("the log does not begin, so nothing is kept: {error}")),
            })
        })
    }

    /// Starts the log, or tells it the new terms. After an error the next bundle tries again.
    pub(super) fn runs(
        &self,
        chain: &Chain,
        bundle: &Bundle,
        host: &Host,
        from_blob: bool,
    ) -> Result<(), StartError> {
        if !self.begins(chain, bundle, host, from_blob)? {
            self.log.terms(terms(bundle));
        }
        Ok(())
    }

    /// Starts the log; `false`: it runs already.
    fn begins(
        &self,
        chain: &Chain,
        bundle: &Bundle,
        host: &Host,
        from_blob: bool,
    ) -> Result<bool, StartError> {
        let mut unused = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = unused.as_ref() else { return Ok(false) };
        let start = Start {
            ring: ring.clone(),
            chain,
            namespace: bundle.site.namespace.clone(),
            host: host.name.clone(),
            from_blob,
            tick: Box::new(Tick(self.tpm.clone())),
            terms: terms(bundle),
        };
        let started = self.log.start(start, &mut |_| {})?;
        self.clock.set_floor(bundle.site.issued.max(started.latest));
        *unused = None;
        Ok(true)
    }
}

/// The TPM's counter that the log ticks by.
struct Tick(Tpm);

impl TickCounter for Tick {
    fn read(&mut self) -> Result<u64, TickError> {
        self.0.define_counter(Counter::Tick).map_err(|_| TickError)
    }

    fn increment(&mut self) -> Result<u64, TickError> {
        self.0.increment(Counter::Tick).map_err(|_| TickError)
    }
}

fn terms(bundle: &Bundle) -> Terms {
    Terms {
        collectors_required: bundle.audit.collectors_required,
        overwrite: bundle.audit.overwrite,
        clients: bundle.service.clients.iter().map(|client| client.name.clone()).collect(),
        acknowledged: bundle.site.acknowledged_logs.clone(),
    }
}
