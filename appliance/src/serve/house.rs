//! Everything an endpoint may touch: the facts of this boot, the TPM, the life of the root, the log,
//! and the snapshot of what is in force now, swapped as a whole when a bundle is accepted.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use casemate_core::{
    keyring::{Day, Keyrings},
    phase::Phase,
    policy::Policy,
    x509::Authority,
};
use casemate_formats::{
    audit::record::{Event, Outcome, Slug},
    bundle::{
        Bundle, Verified,
        body::{Host, Label, Roles},
    },
    code::Code,
    digest::Digest,
};
use rustls::server::ServerConfig;

use super::{
    admission::Gate,
    beginning::Beginning,
    head::{Ids, Room},
    listener::Peer,
    reach::Reachable,
    routes::Client,
    tls::{self, Shown, TlsKey},
};
use crate::{
    audit::Log,
    life::{Life, Origin},
    platform::clock::Clock,
    state::Ring,
    tpm::Tpm,
    update::Updates,
};

/// How long the answer to a retiring bundle has to get out before the machine reboots.
const RETIRE_DELAY: Duration = Duration::from_millis(500);

/// Refused bundles that are recorded in one boot; the operators' mistakes of a bad day.
const REFUSED: usize = 32;

/// What is true from the opening of the port to the end of this boot.
pub struct BootFacts {
    /// PCR 11 after `enter-casemate`: the running image's id.
    pub image: Digest,
    /// The firmware's event log, as securityfs gave it.
    pub event_log: Vec<u8>,
    /// Addresses of this box beside those of the bundle, for its certificate. Asked when one is minted;
    /// may wait for the network, which gets its address while the log starts.
    pub addresses: Box<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// How the box is reached: told what is in force and who came.
    pub network: Box<dyn Reachable>,
    /// The machine's clock; the house sets its floor.
    pub clock: Clock,
    /// Called at each change of phase after the port was opened: the console says so.
    pub announce: Box<dyn Fn(Phase) + Send + Sync>,
    /// The bundle says that this host is retired: called after the answer is on its way; reboots.
    pub leave: Box<dyn Fn() + Send + Sync>,
    /// The keeper of the two ESPs; none where there are none.
    pub updates: Option<Updates>,
}

/// What is in force, read once per request: a request is served by one state of affairs.
pub struct Snapshot {
    /// Where this boot stands.
    pub phase: Phase,
    /// The bundle in force.
    pub bundle: Option<Arc<Verified>>,
    /// Clients and grants of that bundle.
    pub policy: Option<Policy>,
    /// Its keyrings, once the root is open and the log runs.
    pub keyrings: Option<Keyrings>,
    /// This box in it.
    pub host: Option<Label>,
}

/// Shared by all connections.
pub struct House {
    /// Facts of this boot.
    pub boot: BootFacts,
    /// The TPM's owner thread.
    pub tpm: Tpm,
    /// The audit log.
    pub log: Log,
    /// This boot's TLS key.
    pub tls_key: TlsKey,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) gate: Arc<Gate>,
    pub(super) room: Room,
    /// What orders for this boot must name; used once (orders themselves come later).
    pub(super) order_challenge: Digest,
    refused: Mutex<heapless::Vec<Digest, REFUSED>>,
    shown: Arc<Shown>,
    life: Mutex<Life>,
    beginning: Arc<Beginning>,
    snapshot: RwLock<Arc<Snapshot>>,
}

/// The house cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HouseError {
    /// No key or certificate for the port.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}

impl House {
    /// Composes it and brings it to where `life` stands: when the root is open, the log starts here.
    ///
    /// # Errors
    /// No TLS key. A log that does not start is none: the port opens, and nothing is decrypted.
    pub fn open(
        boot: BootFacts,
        tpm: Tpm,
        mut life: Life,
        log: Log,
        ring: Ring,
    ) -> Result<Self, HouseError> {
        let beginning = Arc::new(Beginning::new(&log, &tpm, &boot.clock, ring));
        life.before_keeping(Arc::clone(&beginning).hook());
        if let Some(updates) = boot.updates.clone() {
            life.before_accepting(Box::new(move || updates.first_but_running()));
        }
        let tls_key = TlsKey::generate()?;
        let first = tls_key.certify(&names(None, None), &[], None)?;
        let shown = Arc::new(Shown::new(first));
        let closed = Snapshot {
            phase: life.phase(),
            bundle: None,
            policy: None,
            keyrings: None,
            host: None,
        };
        let house = Self {
            boot,
            tpm,
            log,
            tls_key,
            tls: tls::config(Arc::clone(&shown))?,
            gate: Arc::new(Gate::new()),
            room: Room::default(),
            order_challenge: challenge()?,
            refused: Mutex::default(),
            shown,
            life: Mutex::new(life),
            beginning,
            snapshot: RwLock::new(Arc::new(closed)),
        };
        let life = house.life();
        house.refresh(&life);
        drop(life);
        Ok(house)
    }

    /// What is in force now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The life of the root. Blocks; whoever changes it calls [`House::refresh`] before letting go.
    pub fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings log, certificate and snapshot to where `life` stands. Blocks.
    pub fn refresh(&self, life: &Life) {
        let bundle = life.bundle();
        let host = life.host();
        let before = self.snapshot();
        if let Some(bundle) = &bundle
            && before.bundle.as_ref().is_none_or(|before| before.digest() != bundle.digest())
        {
            // Also lower than before: its signers may set a clock right that ran ahead.
            self.boot.clock.set_floor(bundle.bundle().site.issued);
        }
        let mut keyrings = None;
        if let (Some(bundle), Some(host), Phase::Operational) = (&bundle, host, life.phase()) {
            keyrings = self.serving(life, bundle.bundle(), host);
        }
        let next = Snapshot {
            phase: life.phase(),
            policy: bundle.as_ref().map(|bundle| Policy::new(bundle.bundle())),
            keyrings,
            host: host.map(|host| host.name.clone()),
            bundle,
        };
        let changed = before.phase != next.phase;
        let phase = next.phase;
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.reach_changed(&before, life);
        if changed {
            (self.boot.announce)(phase);
        }
    }

    /// Certificate, log and keyrings. Without a log nothing may be decrypted; the certificate is
    /// shown all the same, so that clients are told why.
    fn serving(&self, life: &Life, bundle: &Bundle, host: &Host) -> Option<Keyrings> {
        let chain = life.chain()?;
        let namespace = &bundle.site.namespace;
        let serving = bundle.root.established.as_ref()?.serving;
        let authority = Authority::new(&*chain.ca_seed(serving)?, namespace, serving);
        let from_blob = life.origin() == Some(Origin::Blob);
        let started = self.beginning.runs(&chain, bundle, host, from_blob);
        let mut addresses = (self.boot.addresses)();
        addresses.extend(host.network.addresses.iter().map(|prefix| prefix.address));
        let names = names(Some(&host.name), Some(namespace));
        let certificate = self.tls_key.certify(&names, &addresses, Some(&authority)).ok()?;
        self.shown.replace(certificate);
        started.ok()?;
        Keyrings::new(bundle, &chain)
    }

    /// Whether this refused bundle is to be recorded: each one once a boot, and a bounded number of
    /// them, because whoever holds an old bundle can send it again for ever.
    pub(super) fn is_new_refusal(&self, digest: Digest) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        !refused.contains(&digest) && refused.push(digest).is_ok()
    }

    /// Whether the running image is on trial.
    pub(super) fn on_trial(&self) -> bool {
        self.boot.updates.as_ref().is_some_and(Updates::on_trial)
    }

    /// A client that the box knows was answered: an image on trial stays. Done beside the answer.
    pub(super) fn keep_image(self: &Arc<Self>, now: &Snapshot, client: &Client, ids: &Ids) {
        if !self.on_trial() || !now.is_serving() {
            return;
        }
        let committing = self.boot.updates.as_ref().and_then(Updates::commit);
        let Some(committing) = committing else { return };
        let (house, name, request) = (Arc::clone(self), client.name.clone(), ids.request.clone());
        tokio::spawn(async move {
            let committed = committing.await.unwrap_or(Err(Code::Internal));
            if committed.is_ok() {
                let life = Arc::clone(&house);
                drop(tokio::task::spawn_blocking(move || life.life().set_trial(false)).await);
            }
            let outcome = match committed {
                Ok(()) => Outcome::Done,
                Err(code) => Outcome::Refused(code.into()),
            };
            let endpoint = Slug::fixed("image-commit");
            let event = Event::Call { client: Some(name), endpoint, outcome, request };
            drop(house.log.record(event).await);
        });
    }

    /// An image that was tried and did not stay is something for a person to look at.
    pub(super) async fn say_what_went_back(&self) {
        if self.boot.updates.as_ref().is_some_and(|updates| updates.went_back().is_some()) {
            let name = Slug::fixed("image-went-back");
            drop(self.log.record(Event::Alarm { name, client: None, value: None }).await);
        }
    }

    /// Whether the machine's clock can be right: before neither the bundle in force nor the last record.
    pub(super) fn clock_is_believable(&self) -> bool {
        self.boot.clock.now().believable
    }

    /// The bundle says that this host is retired: the machine leaves once the answer is on its way.
    pub(super) fn retire(self: &Arc<Self>) {
        let house = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(RETIRE_DELAY).await;
            (house.boot.leave)();
        });
    }

    /// Today, for new tokens: the machine's clock, never before its floor.
    pub(super) fn day(&self) -> Day {
        Day::from_unix(self.boot.clock.now().unix)
    }
}

fn challenge() -> Result<Digest, rustls::Error> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(Digest(random))
}

/// Names of the certificate: `host.namespace.casemate`, `host`, or a plain word before there is one.
fn names(host: Option<&Label>, namespace: Option<&Label>) -> Vec<String> {
    match (host, namespace) {
        (Some(host), Some(namespace)) => {
            vec![format!("{host}.{namespace}.casemate"), host.to_string()]
        }
        _ => vec!["casemate".to_owned()],
    }
}

impl Snapshot {
    /// Whether values can be encrypted and decrypted now, as far as the root goes.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.keyrings.is_some()
    }

    /// The listed client at the other end.
    ///
    /// # Errors
    /// `no-client-certificate`, `untrusted-client`, `wrong-source`.
    pub(super) fn client(&self, peer: &Peer) -> Result<Client, Code> {
        let key = peer.key.ok_or(Code::NoClientCertificate)?;
        let policy = self.policy.as_ref().ok_or(Code::UntrustedClient)?;
        let id = policy.client(&key).ok_or(Code::UntrustedClient)?;
        if !policy.admits(id, peer.address) {
            return Err(Code::WrongSource);
        }
        let name = policy.name(id).ok_or(Code::UntrustedClient)?.clone();
        Ok(Client { id, name })
    }

    /// Whether the other end is a listed client.
    pub(super) fn knows(&self, peer: &Peer) -> bool {
        self.client(peer).is_ok()
    }

    /// Whether a listed client looks after this box: operates, watches or audits it.
    pub(super) fn tends(&self, client: &Client) -> bool {
        let roles = self.policy.as_ref().map(|policy| policy.roles(client.id));
        roles.is_some_and(|roles| roles.0 & Roles::ON_SITE.0 != 0)
    }

    /// Whether a listed client may call a route.
    ///
    /// # Errors
    /// `not-permitted`.
    pub(super) fn may_call(
        &self,
        route: &casemate_core::routes::Route,
        client: &Client,
    ) -> Result<(), Code> {
        let policy = self.policy.as_ref().ok_or(Code::UntrustedClient)?;
        policy.may_call(route, Some(client.id))
    }
}
