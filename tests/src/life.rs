//! A box as far as its life goes: software TPM, disk, measured boot, `Life`; no log and no port. With
//! snapshots, so that a step can be cut short at every point.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use casemate_appliance::{
    life::{Life, LifeError, Machine},
    state::{Ring, State},
    tpm::Tpm,
};
use casemate_core::root::Purpose;
use casemate_formats::{
    bundle::{
        Bundle,
        body::{Established, Host},
    },
    digest::Digest,
    genesis::Answer,
    measure,
    share::ShareFile,
};

use crate::{
    disk::TestDisk,
    site::{self, HOST, SECTIONS, Site},
    swtpm::SoftTpm,
    tpm_proxy::TpmProxy,
};

/// Units of the disk: what the layout needs at least.
const UNITS: u64 = 4096;

/// What firmware and stub measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What PCR 7 was extended by.
    pub secure_boot: &'static [u8],
    /// Sections of the image.
    pub sections: &'static [(&'static str, &'static [u8])],
}

impl Measured {
    /// The image that the site lists, on a machine with the site's keys.
    pub const LISTED: Self = Self { secure_boot: b"the site's keys", sections: &SECTIONS };

    /// PCR 7.
    #[must_use]
    pub fn pcr7(&self) -> Digest {
        measure::extend(Digest::ZERO, Digest::sha256(self.secure_boot))
    }

    /// PCR 11 at `enter-casemate`.
    #[must_use]
    pub fn image(&self) -> Digest {
        measure::phase(measure::uki_pcr11(self.sections), measure::ENTER)
    }
}

/// A box and the people around it.
pub struct Rig {
    /// Signers and custodians.
    pub site: Site,
    /// Its TPM.
    pub soft: SoftTpm,
    /// Its disk.
    pub disk: TestDisk,
}

/// TPM and disk without power.
#[derive(Clone)]
pub struct Kept {
    tpm: Vec<u8>,
    disk: TestDisk,
}

impl Kept {
    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> TestDisk {
        self.disk.clone()
    }
}

/// A box that has booted.
pub struct Boot {
    /// Its life.
    pub life: Life,
    /// Its TPM.
    pub tpm: Tpm,
    /// Where its log is kept.
    pub ring: Ring,
    /// What was measured.
    pub measured: Measured,
}

impl Rig {
    /// A new box with a blank TPM and a blank disk.
    ///
    /// # Errors
    /// swtpm, ssh-keygen or openssl are missing.
    pub fn new() -> Result<Self> {
        Ok(Self { site: Site::new()?, soft: SoftTpm::blank()?, disk: TestDisk::blank(UNITS) })
    }

    /// Power off and on again, with the disk as it stands.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.disk = self.disk.copy();
        self.soft.power_cycle()
    }

    /// Boots the listed image up to the network.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn boot(&self) -> Result<Boot> {
        self.boot_as(Measured::LISTED)
    }

    /// Boots what was measured.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn boot_as(&self, measured: Measured) -> Result<Boot> {
        let tpm = self.enter(&self.soft.tcti(), measured)?;
        Ok(self.open(tpm, measured)?)
    }

    /// Boots the listed image after three panics.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn boot_after_panics(&self) -> Result<Boot> {
        let tpm = self.enter(&self.soft.tcti(), Measured::LISTED)?;
        Ok(self.open_after(tpm, Measured::LISTED, true)?)
    }

    /// Firmware, stub, and PID 1 up to `enter-casemate`.
    ///
    /// # Errors
    /// The TPM does not answer.
    pub fn enter(&self, tcti: &str, measured: Measured) -> Result<Tpm> {
        self.soft.extend(7, Digest::sha256(measured.secure_boot).0)?;
        for (name, data) in measured.sections {
            self.soft.extend(11, Digest::sha256(&[name.as_bytes(), &[0]].concat()).0)?;
            self.soft.extend(11, Digest::sha256(data).0)?;
        }
        let tpm = Tpm::open(tcti, None)?;
        tpm.extend(11, measure::ENTER)?;
        Ok(tpm)
    }

    /// PID 1 from the slots to `leave-casemate`.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn open(&self, tpm: Tpm, measured: Measured) -> Result<Boot, LifeError> {
        self.open_after(tpm, measured, false)
    }

    /// The same; `crash_loop`: after three panics.
    ///
    /// # Errors
    /// TPM or disk do not answer.
    pub fn open_after(
        &self,
        tpm: Tpm,
        measured: Measured,
        crash_loop: bool,
    ) -> Result<Boot, LifeError> {
        let state = Arc::new(State::open(self.disk.blocks())?);
        let ring = state.ring();
        let machine = Machine { image: measured.image(), pcr7: measured.pcr7(), crash_loop };
        let life = Life::open(tpm.clone(), state, self.site.anchors.clone(), machine)?;
        tpm.extend(11, measure::LEAVE)?;
        Ok(Boot { life, tpm, ring, measured })
    }

    /// TPM and disk as they are; the box is off afterwards.
    ///
    /// # Errors
    /// The TPM's state cannot be read.
    pub fn keep(&mut self) -> Result<Kept> {
        Ok(Kept { tpm: self.soft.keep()?, disk: self.disk.copy() })
    }

    /// The box as it was kept, switched on.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn restore(&mut self, kept: &Kept) -> Result<()> {
        self.disk = kept.disk.copy();
        self.soft.restore(&kept.tpm)
    }

    /// A bus under the switch of the disk.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn bus(&self) -> Result<TpmProxy> {
        TpmProxy::start(self.soft.folder(), &self.soft.socket(), &self.disk.power())
    }

    /// The bundle that lists this box and asks for a first root.
    #[must_use]
    pub fn bundle(&self, seq: u64, boot: &Boot) -> Bundle {
        self.site.bundle(seq, vec![record(boot)])
    }
}

/// This box as a bundle lists it.
#[must_use]
pub fn record(boot: &Boot) -> Host {
    host_record(&boot.tpm)
}

/// The box with this TPM as a bundle lists it.
#[must_use]
pub fn host_record(tpm: &Tpm) -> Host {
    let identity = tpm.identity();
    let keys = (identity.ek.clone(), identity.ek_template, identity.ak.clone());
    site::host(HOST, keys, Measured::LISTED.pcr7())
}

/// What the next bundle says about a root after all custodians acknowledged their shares.
///
/// # Errors
/// A share does not open.
pub fn acknowledged(
    site: &Site,
    answer: &Answer,
    before: Option<&Established>,
) -> Result<Established> {
    let mut acks = heapless::Vec::new();
    for (identity, file) in site.custodians.iter().zip(&answer.shares) {
        let file = ShareFile::decode(&identity.decrypt(file)?)?;
        acks.push(file.share.ack()).ok().context("few custodians")?;
    }
    let older = |list: fn(&Established) -> &Vec<Vec<u8>>| {
        before.map(|before| list(before).clone()).unwrap_or_default()
    };
    let mut authorities = older(|before| &before.authorities);
    let mut wrapped = older(|before| &before.wrapped);
    if before.is_none_or(|before| before.generation < answer.generation) {
        authorities.push(answer.authority.clone());
        wrapped.extend(answer.wrapped.clone());
    }
    Ok(Established {
        generation: answer.generation,
        fingerprint: answer.fingerprint,
        commitments: answer.commitments.iter().copied().collect(),
        acks,
        authorities,
        serving: before.map_or(1, |before| before.serving),
        wrapped,
    })
}

/// Brings a box that was never provisioned to Operational: bundles 1 and 2; the second is given back.
///
/// # Errors
/// It refuses.
pub fn establish(rig: &Rig, boot: &mut Boot) -> Result<Bundle> {
    let mut bundle = rig.bundle(1, boot);
    accept(rig, boot, &bundle)?;
    let answer = boot.life.genesis().map_err(refused)?;
    bundle.site.seq = 2;
    bundle.root.established = Some(acknowledged(&rig.site, &answer, None)?);
    accept(rig, boot, &bundle)?;
    Ok(bundle)
}

/// Signs and accepts.
///
/// # Errors
/// It refuses.
pub fn accept(
    rig: &Rig,
    boot: &mut Boot,
    bundle: &Bundle,
) -> Result<casemate_appliance::life::Accepted> {
    boot.life.accept(&rig.site.sign(bundle)?).map_err(refused)
}

fn refused(refused: casemate_appliance::life::Refused) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", refused.code, refused.detail.unwrap_or_default())
}

/// A key of a generation, to compare roots by; `None`: there is no such root open.
#[must_use]
pub fn key(life: &Life, generation: u32) -> Option<[u8; 32]> {
    life.chain()?.derive(generation, Purpose::Key, &[b"compared"]).map(|key| *key)
}
