//! A software TPM for a machine: manufactured once with an EK certificate of its own small CA, then
//! started beside every power-on.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::child::{Guard, wait_until};

/// PCR banks a TPM is manufactured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banks {
    /// SHA-256 alone, swtpm's default.
    Sha256,
    /// SHA-1 alone: what the appliance must refuse.
    Sha1,
}

/// State of one TPM in a folder.
pub struct Swtpm {
    state: PathBuf,
}

impl Swtpm {
    /// Manufactures a TPM in `folder` (created; an existing one is kept).
    ///
    /// # Errors
    /// swtpm_setup fails; its own words are in the error.
    pub fn manufacture(folder: &Path, banks: Banks) -> Result<Self> {
        let state = folder.join("tpm");
        if state.join("tpm2-00.permall").exists() {
            return Ok(Self { state });
        }
        let authority = folder.join("tpm-ca");
        fs::create_dir_all(&state)?;
        fs::create_dir_all(&authority)?;
        let at = |name: &str| authority.join(name).display().to_string();
        fs::write(
            at("localca.conf"),
            format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                authority.display(),
                at("key.pem"),
                at("cert.pem"),
                at("serial")
            ),
        )?;
        fs::write(
            at("localca.options"),
            "--platform-manufacturer casemate\n--platform-version 1\n--platform-model qemu\n",
        )?;
        fs::write(
            at("setup.conf"),
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
                 create_certs_tool_options = {}\n",
                at("localca.conf"),
                at("localca.options")
            ),
        )?;
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"])
            .args(["--overwrite", "--pcr-banks"])
            .arg(match banks {
                Banks::Sha256 => "sha256",
                Banks::Sha1 => "sha1",
            })
            .arg("--tpmstate")
            .arg(&state)
            .arg("--config")
            .arg(at("setup.conf"))
            .stdin(Stdio::null())
            .output()
            .context("swtpm_setup does not start; next: ./image/prepare (installs swtpm-tools)")?;
        if !made.status.success() {
            bail!(
                "swtpm_setup failed: {}{}",
                String::from_utf8_lossy(&made.stdout),
                String::from_utf8_lossy(&made.stderr)
            );
        }
        Ok(Self { state })
    }

    /// Powers it on for QEMU: the control socket is `socket`. It ends with QEMU.
    ///
    /// # Errors
    /// swtpm does not start or opens no socket.
    pub fn start(&self, socket: &Path) -> Result<Guard> {
        let _ = fs::remove_file(socket);
        let mut command = Command::new("swtpm");
        command
            .args(["socket", "--tpm2", "--terminate", "--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.state.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let guard = Guard::spawn("swtpm", &mut command)?;
        wait_until("swtpm's socket", Duration::from_secs(5), || socket.exists())?;
        Ok(guard)
    }

    /// TPM2_Clear with platform authorisation, as a firmware's menu does it; it is off before and after.
    ///
    /// # Errors
    /// swtpm does not start, or the TPM refuses.
    pub fn clear(&self) -> Result<()> {
        let socket = self.state.with_extension("clear.sock");
        let _ = fs::remove_file(&socket);
        let mut command = Command::new("swtpm");
        command
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let guard = Guard::spawn("swtpm", &mut command)?;
        wait_until("swtpm's socket", Duration::from_secs(5), || socket.exists())?;
        // TPM_CC_Clear by TPM_RH_PLATFORM (TPM 2.0 Part 3, section 24.6).
        let cleared = self::command(&socket, 0x126, &[0x4000_000c], &[]);
        drop(guard);
        let _ = fs::remove_file(&socket);
        cleared
    }

    /// Folder of its state, to be copied or destroyed by a drill while it is off.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

/// Sends one command with an empty password session for its first handle (TPM 2.0 Part 1, section 18)
/// to the data socket of an swtpm to which nobody else is connected.
///
/// # Errors
/// The TPM refuses.
pub fn command(socket: &Path, code: u32, handles: &[u32], parameters: &[u8]) -> Result<()> {
    let mut body = code.to_be_bytes().to_vec();
    for handle in handles {
        body.extend(handle.to_be_bytes());
    }
    body.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
    body.extend(parameters);
    let size = u32::try_from(body.len() + 6)?;
    let mut stream = UnixStream::connect(socket).context("swtpm's socket")?;
    stream.write_all(&[&[0x80, 0x02][..], &size.to_be_bytes(), &body].concat())?;
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    let code = header[6..].iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
    ensure!(code == 0, "the TPM answered {code:#x}");
    let rest = header[2..6].iter().fold(0_usize, |n, byte| n << 8 | usize::from(*byte));
    stream.read_exact(&mut vec![0; rest.saturating_sub(10)])?;
    Ok(())
}
