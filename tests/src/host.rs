//! The box without PID 1: the firmware's real rooms with swtpm as TPM, a file as disk and a software
//! firmware's event log, provisioned through its own port as the tools do it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use casemate_appliance::{
    audit::Log,
    life::{Life, Machine},
    serve::{self, BootFacts, House},
    state::{Blocks, State, disk::Disk},
    tpm::Tpm,
};
use casemate_formats::{
    api::Accepted,
    audit::record::Stamp,
    bundle::{
        Bundle,
        body::{Established, Host as HostRecord},
    },
    digest::Digest,
    genesis, measure,
    request::{
        Ask, Request,
        verify::{self, Attested, Expected, Fingerprint, Known},
    },
    share::ShareFile,
};
use tokio::sync::oneshot;

use crate::{
    client::{Client, Trust},
    firmware_log::FirmwareLog,
    site::{self, HOST, SECTIONS, Site},
    swtpm::SoftTpm,
};

/// Units of the disk file: 64 MiB.
const DISK_UNITS: u64 = 16 * 1024;

/// How far a box is brought before it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// No bundle.
    Unprovisioned,
    /// A bundle that asks for a root.
    Locked,
    /// A root, in force.
    Operational,
}

/// A disk between the box and its file.
pub type Proxy = Box<dyn FnOnce(Arc<dyn Blocks>) -> Arc<dyn Blocks>>;

/// How to start one.
pub struct Options {
    /// How far.
    pub until: Until,
    /// TCP port on loopback; 0: any.
    pub port: u16,
    /// What stands between the box and its disk.
    pub proxy: Option<Proxy>,
    /// Changes the first bundle before it is signed.
    pub change: Option<Box<dyn FnOnce(&mut Bundle)>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { until: Until::Operational, port: 0, proxy: None, change: None }
    }
}

/// A box that runs. It ends with its owner.
pub struct Host {
    /// Its people.
    pub site: Site,
    /// Where it listens.
    pub address: SocketAddr,
    /// The bundle in force, where there is one.
    pub bundle: Option<Bundle>,
    running: Option<Running>,
    tpm: SoftTpm,
}

struct Running {
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    house: Arc<House>,
}

impl Host {
    /// A new box of a new site, Operational.
    ///
    /// # Errors
    /// swtpm, ssh-keygen or openssl are missing, or the box refuses what it should accept.
    pub fn start() -> Result<Self> {
        Self::with(Options::default())
    }

    /// A new box of a new site.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn with(options: Options) -> Result<Self> {
        let site = Site::new()?;
        let tpm = SoftTpm::blank()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let mut host = Self { site, address, bundle: None, running: None, tpm };
        host.power_on(options.proxy)?;
        if options.until != Until::Unprovisioned {
            host.list(options.change)?;
        }
        if options.until == Until::Operational {
            host.establish()?;
        }
        Ok(host)
    }

    /// Firmware, PID 1 up to the port.
    ///
    /// # Errors
    /// A room refuses.
    pub fn power_on(&mut self, proxy: Option<Proxy>) -> Result<()> {
        let log = FirmwareLog::boot(&self.site.anchors, &SECTIONS, self.site.image().authenticode);
        for (pcr, digest) in log.extends() {
            self.tpm.extend(u8::try_from(pcr)?, digest.0)?;
        }
        let tpm = Tpm::open(&self.tpm.tcti(), None)?;
        tpm.extend(11, measure::ENTER)?;
        let disk: Arc<dyn Blocks> =
            Arc::new(Disk::file(&self.tpm.folder().join("disk"), DISK_UNITS)?);
        let state = State::open(proxy.map_or(Arc::clone(&disk), |proxy| proxy(disk)))?;
        let ring = state.ring();
        let machine =
            Machine { image: self.site.image().pcr11, pcr7: log.pcrs()[7], crash_loop: false };
        let life = Life::open(tpm.clone(), Arc::new(state), self.site.anchors.clone(), machine)?;
        tpm.extend(11, measure::LEAVE)?;
        let boot = BootFacts {
            image: self.site.image().pcr11,
            event_log: log.encode(),
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            clock: Box::new(unix_seconds),
            announce: Box::new(|_| {}),
            leave: Box::new(|| {}),
        };
        let started = Instant::now();
        let clock = move || Stamp {
            unix_ms: unix_seconds() * 1000,
            monotonic_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let house = House::open(boot, tpm, life, Log::before_root(clock), ring)?;
        let house = Arc::new(house);
        let listener = TcpListener::bind(self.address)?;
        self.address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&house);
        let served = std::thread::spawn(move || {
            serve::run(listener, serving, async {
                let _ = stopped.await;
            })
        });
        self.running = Some(Running { stop, served, house });
        Ok(())
    }

    /// The port closes and the power goes; the disk stays.
    ///
    /// # Errors
    /// The port's.
    pub fn power_off(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            running.served.join().map_err(|_| anyhow!("the port panicked"))??;
            drop(running.house);
        }
        self.tpm.power_off();
        Ok(())
    }

    /// Off and on again: PCRs start anew, the sealed root opens.
    ///
    /// # Errors
    /// See [`Self::power_on`].
    pub fn reboot(&mut self) -> Result<()> {
        self.power_off()?;
        self.tpm.power_cycle()?;
        self.power_on(None)
    }

    /// The box's facts, as its endpoints see them.
    ///
    /// # Panics
    /// It is off.
    #[must_use]
    pub fn house(&self) -> &Arc<House> {
        &self.running.as_ref().expect("the box is on").house
    }

    /// A client of this name.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn client(&self, name: &str) -> Result<Client> {
        Client::new(self.address, &self.trust(), Some(self.site.client(name)))
    }

    /// A client whose key no bundle lists.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn stranger(&self) -> Result<Client> {
        Client::new(self.address, &self.trust(), Some(&self.site.stranger))
    }

    /// A client without a certificate.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn nobody(&self) -> Result<Client> {
        Client::new(self.address, &self.trust(), None)
    }

    /// Whom its clients believe: the site's authority once there is one.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match self.authority() {
            Some(authority) => {
                Trust::Authority(authority.to_vec(), format!("{HOST}.example.casemate"))
            }
            None => Trust::Anyone,
        }
    }

    /// The authority's certificate, DER.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        let root = self.bundle.as_ref()?.root.established.as_ref()?;
        root.authorities.last().map(Vec::as_slice)
    }

    /// Asks for a request and verifies it, as `casemate host add` does for a new box and every other
    /// command for a listed one.
    ///
    /// # Errors
    /// The box does not answer, or does not pass.
    pub fn attest(&self) -> Result<Attested> {
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| anyhow!("random bytes"))?;
        let ask = serde_json::to_vec(&Ask { nonce, credential: None })?;
        let request: Request = self.nobody()?.post("/v1/request", &ask)?.ok()?;
        let console = self.house().tpm.identity().ek.fingerprint().short();
        let fingerprint = Fingerprint::parse(&console).context("a fingerprint")?;
        let known = match self.bundle.as_ref().and_then(|bundle| bundle.hosts.first()) {
            Some(host) => Known::Listed(host),
            None => Known::New(&fingerprint),
        };
        let images = [self.site.image()];
        let expected =
            Expected { nonce: &nonce, anchors: &self.site.anchors, images: &images, host: known };
        verify::request(&request, &expected).map_err(|refusal| anyhow!("{refusal:?}"))
    }

    /// The record that lists this box.
    ///
    /// # Errors
    /// See [`Self::attest`].
    pub fn record(&self) -> Result<HostRecord> {
        let attested = self.attest()?;
        Ok(site::host(HOST, attested.identity(), attested.pcr7()))
    }

    /// Pushes an envelope.
    ///
    /// # Errors
    /// The box refuses it.
    pub fn push(&self, envelope: &[u8]) -> Result<Accepted> {
        let headers = [("Content-Type", "application/octet-stream")];
        let mut connection = self.nobody()?.connect()?;
        connection.send("POST", "/v1/bundle", &headers, Some(envelope))?.ok()
    }

    /// Signs and pushes a bundle, which is then the one in force.
    ///
    /// # Errors
    /// The box refuses it.
    pub fn accept(&mut self, bundle: Bundle) -> Result<Accepted> {
        let accepted = self.push(&self.site.sign(&bundle)?)?;
        self.bundle = Some(bundle);
        Ok(accepted)
    }

    /// Unprovisioned to Locked.
    fn list(&mut self, change: Option<Box<dyn FnOnce(&mut Bundle)>>) -> Result<()> {
        let mut bundle = self.site.bundle(1, vec![self.record()?]);
        if let Some(change) = change {
            change(&mut bundle);
        }
        self.accept(bundle)?;
        Ok(())
    }

    /// Genesis with every custodian's acknowledgement.
    ///
    /// # Errors
    /// The box refuses, or its answer does not pass.
    pub fn genesis(&self) -> Result<Established> {
        let bundle = self.bundle.as_ref().context("a bundle")?;
        let answer = self.client("operate")?.post("/v1/genesis", b"{}")?;
        let answer: genesis::Answer = answer.ok()?;
        verify::genesis(&answer, bundle, &bundle.digest())
            .map_err(|refusal| anyhow!("{refusal:?}"))?;
        let mut acks = heapless::Vec::new();
        for (custodian, file) in self.site.custodians.iter().zip(&answer.shares) {
            let share = ShareFile::decode(&custodian.decrypt(file)?)?;
            acks.push(share.share.ack()).map_err(|_| anyhow!("few custodians"))?;
        }
        ensure!(acks.len() == self.site.custodians.len(), "a share for each custodian");
        Ok(Established {
            generation: answer.generation,
            fingerprint: answer.fingerprint,
            commitments: answer.commitments.iter().copied().collect(),
            acks,
            authorities: vec![answer.authority],
            serving: answer.generation,
            wrapped: Vec::new(),
        })
    }

    /// Locked to Operational.
    fn establish(&mut self) -> Result<()> {
        let mut bundle = self.bundle.clone().context("a bundle")?;
        bundle.site.seq += 1;
        bundle.root.established = Some(self.genesis()?);
        let accepted = self.accept(bundle)?;
        ensure!(accepted.outcome == "entered", "{accepted:?}");
        Ok(())
    }

    /// Writes authority, client certificates and keys as PEM files, for curl and others.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        for (name, identity) in &self.site.clients {
            identity.write(folder, name)?;
        }
        if let Some(authority) = self.authority() {
            let text = crate::identity::pem("CERTIFICATE", authority);
            std::fs::write(folder.join("authority.crt"), text)?;
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // swtpm ends with its guard.
        let _ = self.power_off();
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The digest of nothing in particular, for tests that need another one.
#[must_use]
pub fn other_digest() -> Digest {
    Digest::sha256(b"another")
}
