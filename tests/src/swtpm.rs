//! A software TPM on unix sockets in a folder of its own, for tests of the real TPM room. It ends
//! with its owner, panic or not.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Result;
use casemate_qemu::{
    child::{Guard, wait_until},
    swtpm::{self, Banks, Swtpm},
};
use tempfile::TempDir;

use crate::alone::alone;

/// Where swtpm keeps what a TPM keeps without power.
const NON_VOLATILE: &str = "tpm2-00.permall";

/// A TPM that runs.
pub struct SoftTpm {
    folder: TempDir,
    state: PathBuf,
    running: Option<Guard>,
}

impl SoftTpm {
    /// A blank TPM without certificates (so its EK is P-256), switched on.
    ///
    /// # Errors
    /// swtpm is missing or does not start.
    pub fn blank() -> Result<Self> {
        let folder = TempDir::new()?;
        let state = folder.path().join("tpm");
        fs::create_dir(&state)?;
        Self::on(folder, state)
    }

    /// A TPM with certificates from a manufacturer (so its EK is P-384), switched on.
    ///
    /// # Errors
    /// swtpm or swtpm_setup is missing or does not start.
    pub fn manufactured(banks: Banks) -> Result<Self> {
        let folder = TempDir::new()?;
        let made = Swtpm::manufacture(folder.path(), banks)?;
        let state = made.state().to_owned();
        Self::on(folder, state)
    }

    /// What `Tpm::open` takes.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    /// The data socket; the control socket lies beside it with `.ctrl`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Folder for whatever belongs to this TPM.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Power off and on at once, without a shutdown command.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.running = None;
        self.start()
    }

    /// Power off.
    pub fn power_off(&mut self) {
        self.running = None;
    }

    /// What it keeps without power; switches it off.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn keep(&mut self) -> Result<Vec<u8>> {
        self.power_off();
        Ok(fs::read(self.state.join(NON_VOLATILE))?)
    }

    /// The TPM as it was kept, switched on.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn restore(&mut self, kept: &[u8]) -> Result<()> {
        self.power_off();
        fs::write(self.state.join(NON_VOLATILE), kept)?;
        self.start()
    }

    /// TPM2_Clear with platform authorisation, as a firmware menu does it. Nobody may be connected.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn clear(&self) -> Result<()> {
        // TPM_ST_SESSIONS, TPM_CC_Clear, TPM_RH_PLATFORM, one empty password session.
        self.command(0x126, &[0x4000_000c], &[])
    }

    /// Extends a PCR (sha256) by a digest. Nobody may be connected.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn extend(&self, pcr: u8, digest: [u8; 32]) -> Result<()> {
        let parameters = [&[0, 0, 0, 1, 0, 0x0b][..], &digest].concat();
        self.command(0x182, &[u32::from(pcr)], &parameters)
    }

    /// Sets the owner's authorisation, as another OS might.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn own(&self, authorisation: &[u8]) -> Result<()> {
        let length = u16::try_from(authorisation.len())?;
        self.command(0x129, &[0x4000_0001], &[&length.to_be_bytes()[..], authorisation].concat())
    }

    /// One command with an empty password session for its first handle.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn command(&self, code: u32, handles: &[u32], parameters: &[u8]) -> Result<()> {
        swtpm::command(&self.socket(), code, handles, parameters)
    }

    fn on(folder: TempDir, state: PathBuf) -> Result<Self> {
        let mut this = Self { folder, state, running: None };
        this.start()?;
        Ok(this)
    }

    fn start(&mut self) -> Result<()> {
        let socket = self.socket();
        let control = socket.with_extension("ctrl");
        for stale in [&socket, &control] {
            let _ = fs::remove_file(stale);
        }
        // The TSS finds the control socket by adding `.ctrl` to the path.
        // A TPM that is started while another one works must not keep that one's line busy.
        let mut command = alone("swtpm");
        command
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", control.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running = Some(Guard::spawn("swtpm", &mut command)?);
        // A socket exists before anybody listens at it.
        wait_until("swtpm's sockets", Duration::from_secs(10), || {
            UnixStream::connect(&control).is_ok() && UnixStream::connect(&socket).is_ok()
        })
    }
}
