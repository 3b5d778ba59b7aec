//! One machine in a folder: disk, firmware variables, TPM, console. Power on, cut, reset, look.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    child::{Guard, wait_until},
    faulty::FaultyDisk,
    firmware::{self, Variables},
    monitor::Monitor,
    serial::Serial,
    swtpm::{Banks, Swtpm},
    torn::Dice,
};

/// The appliance's port inside the machine.
const GUEST_PORT: u16 = 8443;

/// How a machine is built.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// MiB of memory.
    pub memory: u32,
    /// Processors.
    pub processors: u32,
    /// Firmware variables of a new machine.
    pub variables: Variables,
    /// TPM banks; `None`: no TPM at all.
    pub tpm: Option<Banks>,
    /// What stands behind its disk.
    pub disk: Disk,
    /// Hardware address of a second network card, whose frames go to the socket `net.peer` and come
    /// from `net.card` in the machine's folder, a datagram each.
    pub second_card: Option<[u8; 6]>,
}

/// What stands behind the machine's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The image file itself.
    File,
    /// A disk server that can be killed: pulling the disk out of a running machine.
    Removable,
    /// A disk with a write cache that a power cut loses, which can be slow and fail: [`Machine::disk`].
    Faulty,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            memory: 512,
            processors: 2,
            variables: Variables::Empty,
            tpm: Some(Banks::Sha256),
            disk: Disk::File,
            second_card: None,
        }
    }
}

/// A machine: off, or running.
pub struct Machine {
    folder: PathBuf,
    hardware: Hardware,
    port: u16,
    running: Option<Running>,
    /// Its console.
    pub serial: Serial,
}

struct Running {
    qemu: Guard,
    _swtpm: Option<Guard>,
    disk: Option<Backing>,
}

/// Who serves a disk that is not a file of QEMU's.
enum Backing {
    Server { _ends_with_it: Guard },
    Faulty(FaultyDisk),
}

impl Machine {
    /// A machine in `folder`, created with a copy of `image` as its disk. What is there already stays.
    ///
    /// # Errors
    /// A file cannot be made, or a package is missing.
    pub fn create(folder: &Path, image: &Path, hardware: Hardware) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let disk = folder.join("disk.img");
        if !disk.exists() {
            copy_sparse(image, &disk)?;
        }
        let variables = folder.join("vars.fd");
        if !variables.exists() {
            firmware::create_variables(hardware.variables, &variables)?;
        }
        if let Some(banks) = hardware.tpm {
            Swtpm::manufacture(folder, banks)?;
        }
        let port = port(&folder.join("port"))?;
        let serial = Serial::new(&folder.join("console.log"));
        Ok(Self { folder: folder.to_owned(), hardware, port, running: None, serial })
    }

    /// Its firmware is in set-up mode again, as after its settings deleted the Secure Boot keys; off.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn delete_keys(&mut self) -> Result<()> {
        self.cut();
        let variables = self.path("vars.fd");
        fs::remove_file(&variables)?;
        firmware::create_variables(self.hardware.variables, &variables)
    }

    /// Powers on. The console's log begins anew.
    ///
    /// # Errors
    /// QEMU or swtpm does not start.
    pub fn start(&mut self) -> Result<()> {
        self.cut();
        let console = self.path("console.log");
        let _ = fs::remove_file(&console);
        self.serial = Serial::new(&console);
        let swtpm = self
            .hardware
            .tpm
            .map(|banks| Swtpm::manufacture(&self.folder, banks)?.start(&self.path("tpm.sock")))
            .transpose()?;
        let disk = self.start_disk()?;
        let _ = fs::remove_file(self.path("monitor.sock"));
        let qemu = Guard::spawn("QEMU", &mut self.command()?)?;
        let mut running = Running { qemu, _swtpm: swtpm, disk };
        let monitor = self.path("monitor.sock");
        wait_until("QEMU's monitor", Duration::from_secs(10), || {
            monitor.exists() || !running.qemu.is_running()
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// Cuts the power: QEMU is killed, nothing is flushed by the guest.
    pub fn cut(&mut self) {
        self.running = None;
    }

    /// Cuts the power as it is cut for a disk with a cache: of what was not flushed there is left what
    /// the dice say. Disk, machine and TPM go together.
    ///
    /// # Errors
    /// The image cannot be written.
    pub fn cut_torn(&mut self, dice: &mut Dice) -> Result<()> {
        if let Some(disk) = self.disk() {
            disk.cut(dice)?;
        }
        self.cut();
        Ok(())
    }

    /// The disk of a running machine with a [`Disk::Faulty`] one.
    #[must_use]
    pub fn disk(&self) -> Option<&FaultyDisk> {
        match self.running.as_ref()?.disk.as_ref()? {
            Backing::Faulty(disk) => Some(disk),
            Backing::Server { .. } => None,
        }
    }

    /// Clears its TPM, as its firmware's menu does; it is off.
    ///
    /// # Errors
    /// It has no TPM, or that refuses.
    pub fn clear_tpm(&mut self) -> Result<()> {
        self.cut();
        let banks = self.hardware.tpm.context("expected a machine with a TPM")?;
        Swtpm::manufacture(&self.folder, banks)?.clear()
    }

    /// Leaves it running when this program ends: QEMU, and with it its TPM, are stopped by a signal.
    pub fn leave_running(mut self) {
        if let Some(running) = self.running.take() {
            std::mem::forget(running);
        }
    }

    /// Switches off whatever machine still runs in `folder`, whoever started it.
    pub fn switch_off(folder: &Path) {
        if let Ok(mut monitor) = Monitor::connect(&folder.join("monitor.sock")) {
            // It hangs up instead of answering.
            let _ = monitor.run("quit", &json!({}));
        }
    }

    /// The reset button.
    ///
    /// # Errors
    /// The machine is off.
    pub fn reset(&mut self) -> Result<()> {
        self.serial.skip();
        self.monitor()?.run("system_reset", &json!({}))?;
        Ok(())
    }

    /// Pulls the disk of a machine with a [`Disk::Removable`] one: every further request fails.
    pub fn pull_disk(&mut self) {
        if let Some(running) = &mut self.running {
            running.disk = None;
        }
    }

    /// A connection to QEMU's monitor.
    ///
    /// # Errors
    /// The machine is off.
    pub fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.path("monitor.sock"))
    }

    /// Whether QEMU runs.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|r| r.qemu.is_running())
    }

    /// QEMU's process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|r| r.qemu.id())
    }

    /// Loopback port that reaches the appliance's.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file of the machine: `disk.img`, `vars.fd`, `tpm`, `console.log`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its hardware, to be changed while it is off.
    pub const fn hardware(&mut self) -> &mut Hardware {
        &mut self.hardware
    }

    fn start_disk(&self) -> Result<Option<Backing>> {
        let socket = self.path("disk.sock");
        match self.hardware.disk {
            Disk::File => return Ok(None),
            Disk::Faulty => {
                let disk = FaultyDisk::start(&self.path("disk.img"), &socket)?;
                return Ok(Some(Backing::Faulty(disk)));
            }
            Disk::Removable => {}
        }
        let _ = fs::remove_file(&socket);
        let mut command = Command::new("qemu-nbd");
        command
            .args(["--format=raw", "--cache=none", "--persistent", "--socket"])
            .arg(&socket)
            .arg(self.path("disk.img"))
            .stdout(Stdio::null());
        let guard = Guard::spawn("qemu-nbd", &mut command)?;
        wait_until("the disk server's socket", Duration::from_secs(5), || socket.exists())?;
        Ok(Some(Backing::Server { _ends_with_it: guard }))
    }

    fn command(&self) -> Result<Command> {
        let code = firmware::code()?;
        let shown = |name: &str| self.path(name).display().to_string();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,smm=on,accel=tcg", "-cpu", "max", "-nographic", "-nodefaults"])
            .args(["-m", &self.hardware.memory.to_string()])
            .args(["-smp", &self.hardware.processors.to_string()])
            .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
            .arg("-drive")
            .arg(format!("if=pflash,unit=0,format=raw,readonly=on,file={}", code.display()))
            .arg("-drive")
            .arg(format!("if=pflash,unit=1,format=raw,file={}", shown("vars.fd")))
            .arg("-serial")
            .arg(format!("file:{}", shown("console.log")))
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", shown("monitor.sock")))
            .args(["-device", "i6300esb", "-action", "watchdog=reset"])
            .arg("-netdev")
            .arg(format!("user,id=n,hostfwd=tcp:127.0.0.1:{}-:{GUEST_PORT}", self.port))
            .args(["-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"]);
        if let Some(mac) = self.hardware.second_card {
            let _ = fs::remove_file(self.path("net.card"));
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            qemu.arg("-netdev").arg(format!(
                "dgram,id=m,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                shown("net.card"),
                shown("net.peer")
            ));
            qemu.arg("-device").arg(format!("virtio-net-pci,netdev=m,romfile=,mac={mac}"));
        }
        if self.hardware.tpm.is_some() {
            qemu.arg("-chardev").arg(format!("socket,id=c,path={}", shown("tpm.sock"))).args([
                "-tpmdev",
                "emulator,id=t,chardev=c",
                "-device",
                "tpm-crb,tpmdev=t",
            ]);
        }
        qemu.arg("-drive").arg(match self.hardware.disk {
            Disk::File => format!(
                "if=none,id=d,format=raw,cache=none,werror=report,rerror=report,file={}",
                shown("disk.img")
            ),
            Disk::Removable | Disk::Faulty => format!(
                "if=none,id=d,format=raw,werror=report,rerror=report,file=nbd+unix:///?socket={}",
                shown("disk.sock")
            ),
        });
        qemu.args(["-device", "virtio-blk-pci,drive=d,bootindex=0"]);
        let log = fs::File::create(self.path("qemu.log"))?;
        qemu.stdout(log.try_clone()?).stderr(log);
        Ok(qemu)
    }
}

/// The loopback port of a machine: written beside it once, so that its address stays.
fn port(file: &Path) -> Result<u16> {
    if let Ok(text) = fs::read_to_string(file) {
        return text.trim().parse().with_context(|| format!("{}: no port", file.display()));
    }
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    fs::write(file, port.to_string())?;
    Ok(port)
}

/// Copies a disk image without writing its holes.
///
/// # Errors
/// `cp` fails.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .status()
        .context("cp does not start")?;
    anyhow::ensure!(status.success(), "cannot copy {} to {}", from.display(), to.display());
    Ok(())
}
