//! The box without PID 1: the firmware's real rooms with swtpm as TPM, a file as disk and a software
//! firmware's event log, provisioned through its own port as the tools do it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::{Deref, DerefMut},
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, anyhow, ensure};
use casemate_appliance::{
    audit::Log,
    life::{Life, Machine},
    platform::clock::Clock,
    serve::{self, BootFacts, House},
    state::{Blocks, State, disk::Disk},
    tpm::Tpm,
    update::{self, Start, Updates},
};
use casemate_core::update::Boot;
use casemate_formats::{
    anchors::Anchors, audit::record::Stamp, bundle::Bundle, digest::Digest, measure,
};
use tokio::sync::oneshot;

use crate::{
    esps::{self, Esps},
    firmware_log::FirmwareLog,
    loopback::Loopback,
    remote::Remote,
    site::{HOST, SECTIONS, Site},
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

/// Changes a bundle before it is signed.
pub type Change = Box<dyn FnOnce(&mut Bundle)>;

/// How to start one.
pub struct Options {
    /// How far.
    pub until: Until,
    /// TCP port on loopback; 0: any.
    pub port: u16,
    /// What stands between the box and its disk.
    pub proxy: Option<Proxy>,
    /// Changes the first bundle before it is signed.
    pub change: Option<Change>,
    /// Its name and its site, where it is not the first box of a new one; then it starts
    /// [`Until::Unprovisioned`].
    pub joins: Option<(&'static str, Arc<Site>)>,
    /// Anchors of a site that the tools made, in place of a throwaway one; then it starts
    /// [`Until::Unprovisioned`], because nobody here has that site's keys.
    pub anchors: Option<Anchors>,
    /// What its firmware does otherwise than [`FirmwareLog::boot`].
    pub firmware: Option<fn(&mut FirmwareLog)>,
    /// Two ESPs and a firmware that starts from them; without them the one image is always started.
    pub esps: Option<Arc<Esps>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            until: Until::Operational,
            port: 0,
            proxy: None,
            change: None,
            joins: None,
            anchors: None,
            firmware: None,
            esps: None,
        }
    }
}

/// A box that runs. It ends with its owner. Seen through its port it is a [`Remote`].
pub struct Host {
    remote: Remote,
    running: Option<Running>,
    tpm: SoftTpm,
    firmware: Option<fn(&mut FirmwareLog)>,
    esps: Option<Arc<Esps>>,
    /// Seconds by which its clock is ahead at the next boot.
    pub clock_skew: i64,
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
        let mut until = options.until;
        if options.anchors.is_some() || options.joins.is_some() {
            until = Until::Unprovisioned;
        }
        let (name, site) = match options.joins {
            Some(joins) => joins,
            None => {
                let mut site = Site::new()?;
                site.anchors = options.anchors.unwrap_or(site.anchors);
                (HOST, Arc::new(site))
            }
        };
        let tpm = SoftTpm::blank()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let image = match &options.esps {
            Some(_) => esps::image(1),
            None => site.image(),
        };
        let remote = Remote { image, site, name, address, ek: String::new(), bundle: None };
        let mut host = Self {
            remote,
            running: None,
            tpm,
            firmware: options.firmware,
            esps: options.esps,
            clock_skew: 0,
        };
        host.power_on(options.proxy)?;
        if until != Until::Unprovisioned {
            host.list(options.change)?;
        }
        if until == Until::Operational {
            host.establish()?;
        }
        Ok(host)
    }

    /// Firmware, PID 1 up to the port.
    ///
    /// # Errors
    /// A room refuses.
    pub fn power_on(&mut self, proxy: Option<Proxy>) -> Result<()> {
        let number = self.esps.as_ref().map(|esps| esps.start()).transpose()?;
        let (sections, image) = match number {
            Some(number) => (esps::sections(number), esps::image(number)),
            None => (SECTIONS, self.remote.site.image()),
        };
        let anchors = &self.remote.site.anchors;
        let mut log = FirmwareLog::boot(anchors, &sections, image.authenticode);
        if let Some(change) = self.firmware {
            change(&mut log);
        }
        for (pcr, digest) in log.extends() {
            self.tpm.extend(u8::try_from(pcr)?, digest.0)?;
        }
        let tpm = Tpm::open(&self.tpm.tcti(), None)?;
        tpm.extend(11, measure::ENTER)?;
        let disk: Arc<dyn Blocks> =
            Arc::new(Disk::file(&self.tpm.folder().join("disk"), DISK_UNITS)?);
        let state = State::open(proxy.map_or(Arc::clone(&disk), |proxy| proxy(disk)))?;
        let ring = state.ring();
        let state = Arc::new(state);
        let begun = update::begin(&state, image.pcr11);
        let machine = Machine { image: image.pcr11, pcr7: log.pcrs()[7], crash_loop: false };
        let mut life =
            Life::open(tpm.clone(), Arc::clone(&state), self.remote.site.anchors.clone(), machine)?;
        tpm.extend(11, measure::LEAVE)?;
        if begun == Boot::Trial {
            life.set_trial(true);
            ensure!(update::may_stay(life.phase()), "an image on trial leaves: {}", life.phase());
        }
        let listed = life.bundle().map(|bundle| bundle.bundle().images.iter().cloned().collect());
        let start = Start {
            boot: begun,
            image: image.pcr11,
            listed: listed.unwrap_or_default(),
            patience: self.esps.as_ref().map_or(update::PATIENCE, |esps| esps.patience()),
            db: None,
            pcr7: Vec::new(),
        };
        let updates = self.esps.as_ref().map(|esps| Updates::start(esps.medium(state), start));
        let updates = updates.transpose()?;
        let skew = self.clock_skew;
        let clock = Clock::reading(move || unix_seconds().saturating_add_signed(skew));
        let (keeper, doors) = serve::doors();
        let loopback = Loopback::new(&life, keeper);
        let boot = BootFacts {
            image: image.pcr11,
            event_log: log.encode(),
            addresses: Box::new(|| vec![Ipv4Addr::LOCALHOST.into()]),
            network: Box::new(loopback.clone()),
            clock: clock.clone(),
            announce: Box::new(|_| {}),
            leave: Box::new(|| {}),
            updates,
        };
        let started = Instant::now();
        let stamp = move || Stamp {
            unix_ms: Some(clock.now())
                .filter(|now| now.believable)
                .map_or(0, |now| now.unix * 1000),
            monotonic_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let house = House::open(boot, tpm, life, Log::before_root(stamp), ring)?;
        let house = Arc::new(house);
        self.remote.ek = house.tpm.identity().ek.fingerprint().short();
        self.remote.address = loopback.open(self.remote.address)?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&house);
        let served = std::thread::spawn(move || {
            serve::run(doors, serving, async {
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
        self.reboot_on(None)
    }

    /// The same with this between the box and its disk.
    ///
    /// # Errors
    /// See [`Self::power_on`].
    pub fn reboot_on(&mut self, proxy: Option<Proxy>) -> Result<()> {
        self.power_off()?;
        self.tpm.power_cycle()?;
        self.power_on(proxy)
    }

    /// Off; its TPM is cleared, its disk is another, blank one, as asked; and on again.
    ///
    /// # Errors
    /// See [`Self::power_on`].
    pub fn lose(&mut self, tpm: bool, disk: bool) -> Result<()> {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            running.served.join().map_err(|_| anyhow!("the port panicked"))??;
        }
        if tpm {
            self.tpm.clear()?;
        }
        if disk {
            std::fs::remove_file(self.tpm.folder().join("disk"))?;
        }
        self.tpm.power_cycle()?;
        self.power_on(None)
    }

    /// From the next boot on the firmware does this.
    pub fn update_firmware(&mut self, change: fn(&mut FirmwareLog)) {
        self.firmware = Some(change);
    }

    /// The box's facts, as its endpoints see them.
    ///
    /// # Panics
    /// It is off.
    #[must_use]
    pub fn house(&self) -> &Arc<House> {
        &self.running.as_ref().expect("the box is on").house
    }
}

impl Deref for Host {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Remote {
        &mut self.remote
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
