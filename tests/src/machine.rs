//! A real machine of a throwaway site: the image built for its anchors, booted by QEMU with OVMF,
//! Secure Boot and swtpm. Brought to Operational once; every test starts from a copy of that folder.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use casemate_formats::{anchors::Anchors, digest::Digest, manifest::Manifest};
use casemate_qemu::{
    machine::{Hardware, Machine, copy_sparse},
    tools::{self, Tools},
};

use crate::{
    client::Answer,
    remote::Remote,
    site::{HOST, PII, Site},
};

/// A boot under TCG beside other work: far longer than any takes.
pub const BOOT: Duration = casemate_qemu::world::BOOT;

/// An image built for a throwaway site.
pub struct Built {
    /// Folder of `cargo image build` and `sign`.
    pub folder: PathBuf,
    /// What was built.
    pub manifest: Manifest,
}

impl Built {
    /// Builds and signs the image of `site` into `folder`. Kernel and firmware come from the cache.
    ///
    /// # Errors
    /// The image builder's own.
    pub fn image(site: &Site, folder: &Path) -> Result<Self> {
        Self::with_init(site, folder, None)
    }

    /// As [`Self::image`], with this program as `/init` instead of the firmware.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn with_init(site: &Site, folder: &Path, init: Option<&Path>) -> Result<Self> {
        Self::with(site, folder, &site.anchors, init)
    }

    /// As [`Self::with_init`], with other anchors than the site's.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn with(
        site: &Site,
        folder: &Path,
        anchors: &Anchors,
        init: Option<&Path>,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join("anchors");
        fs::write(&file, anchors.encode()?)?;
        let tools = Tools::find()?;
        let mut build = tools.image();
        build.arg("build").arg("--anchors").arg(&file).arg("--out").arg(folder);
        if let Some(init) = init {
            build.arg("--init").arg(init);
        }
        tools::output(&mut build)?;
        let at = |name: &str| site.folder().join(name);
        let mut sign = tools.image();
        sign.arg("sign").arg("--dir").arg(folder).arg("--key").arg(at("db.key"));
        sign.arg("--certificate").arg(at("db.crt"));
        tools::output(&mut sign)?;
        let manifest = Manifest::parse(&fs::read_to_string(folder.join("manifest.json"))?)?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Another image that does the same: the firmware with a byte behind its last section.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn second(site: &Site, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let init = folder.join("init");
        fs::write(&init, [Self::firmware()?, vec![0]].concat())?;
        Self::with_init(site, folder, Some(&init))
    }

    /// The firmware that images are built with.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn firmware() -> Result<Vec<u8>> {
        let path = tools::output(Tools::find()?.image().arg("firmware"))?;
        Ok(fs::read(path.trim())?)
    }

    /// Its ESP.
    ///
    /// # Errors
    /// The file system's.
    pub fn esp(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.join("esp.img"))?)
    }

    /// The disk of a new machine.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }
}

/// A machine with the remote view of it.
pub struct Box {
    /// The hardware.
    pub machine: Machine,
    /// Its port.
    pub remote: Remote,
}

impl Box {
    /// A new machine with empty firmware variables, powered on: it enrols the site's keys, starts
    /// again, and waits for a bundle.
    ///
    /// # Errors
    /// It does not come up.
    pub fn unprovisioned(site: Arc<Site>, built: &Built, folder: &Path) -> Result<Self> {
        let mut machine = Machine::create(folder, &built.disk(), Hardware::default())?;
        machine.start()?;
        machine.serial.wait("casemate: enrolled PK", BOOT)?;
        let line = machine.serial.wait("casemate: ek ", BOOT)?;
        let ek = line.split("casemate: ek ").nth(1).context("a fingerprint")?.trim().to_owned();
        machine.serial.wait("casemate: phase unprovisioned", BOOT)?;
        machine.serial.wait("casemate: ready", BOOT)?;
        let image = built.manifest.image().context("a signed image")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, machine.port()));
        Ok(Self { machine, remote: Remote { site, name: HOST, address, image, ek, bundle: None } })
    }

    /// As [`Self::unprovisioned`], then listed, with a root, Operational.
    ///
    /// # Errors
    /// It does not come up, or refuses a bundle.
    pub fn operational(site: Arc<Site>, built: &Built, folder: &Path) -> Result<Self> {
        let mut new = Self::unprovisioned(site, built, folder)?;
        new.remote.list(None)?;
        new.machine.serial.wait("casemate: phase locked (no-root)", BOOT)?;
        new.remote.establish()?;
        new.machine.serial.wait("casemate: phase operational", BOOT)?;
        Ok(new)
    }

    /// Waits until it serves; the time from `since` to the first 200 of `/readyz`.
    ///
    /// # Errors
    /// It does not within [`BOOT`].
    pub fn wait_ready(&self, since: Instant) -> Result<Duration> {
        // QEMU accepts a connection before the machine has a network, and tries the machine again
        // only after seconds: until the port is open, an attempt is given up soon.
        let client = self.remote.nobody()?;
        let eager = client.clone().with_patience(Duration::from_millis(100));
        while since.elapsed() < BOOT {
            let open = self.machine.serial.text().contains("casemate: ready");
            let answer = if open { &client } else { &eager }.get("/readyz");
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("no 200 of /readyz; console:\n{}", self.machine.serial.text())
    }

    /// Has the bundle in force list `image` as well.
    ///
    /// # Errors
    /// The box refuses it.
    pub fn list_image(&mut self, image: &Built) -> Result<()> {
        let mut bundle = self.remote.bundle.clone().context("a bundle")?;
        bundle.site.seq += 1;
        let listed = image.manifest.image().context("a signed image")?;
        ensure!(bundle.images.push(listed).is_ok(), "four images are listed already");
        self.remote.accept(bundle)?;
        Ok(())
    }

    /// Sends an image; the answer comes when the other ESP holds it.
    ///
    /// # Errors
    /// The network's.
    pub fn put_image(&self, image: &Built) -> Result<Answer> {
        let esp = fs::read(image.folder.join("esp.img"))?;
        let digest = format!("sha-256=:{}:", base64(&Digest::sha256(&esp).0));
        let headers =
            [("Content-Type", "application/octet-stream"), ("Content-Digest", digest.as_str())];
        // TLS, hashing and the disk of 64 MiB under TCG.
        let client = self.remote.client("operate")?.with_patience(BOOT);
        client.connect()?.send("PUT", "/v1/image", &headers, Some(&esp))
    }

    /// Encrypts `plaintext` for a row of the throwaway site's column.
    ///
    /// # Errors
    /// The box refuses.
    pub fn encrypt(&self, plaintext: &[u8]) -> Result<String> {
        let body = serde_json::json!({
            "keyring": PII, "context": context(), "plaintext": base64(plaintext),
        });
        let answer = self.remote.client("web")?.post("/v1/encrypt", body.to_string().as_bytes())?;
        let answer: serde_json::Value = answer.ok()?;
        Ok(answer["token"].as_str().context("a token")?.to_owned())
    }

    /// Decrypts what [`Self::encrypt`] gave.
    ///
    /// # Errors
    /// The box refuses.
    pub fn decrypt(&self, token: &str) -> Result<Vec<u8>> {
        let answer = self.remote.client("web")?.post("/v1/decrypt", &decrypt_body(token))?;
        let answer: serde_json::Value = answer.ok()?;
        let text = answer["plaintext"].as_str().context("a plaintext")?;
        use ::base64::{Engine as _, engine::general_purpose::STANDARD};
        Ok(STANDARD.decode(text)?)
    }

    /// A copy of this machine (which is off) in another folder, off as well: same disk, firmware
    /// variables and TPM, to be changed and started by a test.
    ///
    /// # Errors
    /// The file system's.
    pub fn copy(&self, folder: &Path, hardware: Hardware) -> Result<Self> {
        fs::create_dir_all(folder)?;
        copy_sparse(&self.machine.path("disk.img"), &folder.join("disk.img"))?;
        fs::copy(self.machine.path("vars.fd"), folder.join("vars.fd"))?;
        for part in ["tpm", "tpm-ca"] {
            let mut copy = std::process::Command::new("cp");
            tools::output(copy.arg("-a").arg(self.machine.path(part)).arg(folder))?;
        }
        let machine = Machine::create(folder, &folder.join("disk.img"), hardware)?;
        let remote = Remote {
            site: Arc::clone(&self.remote.site),
            name: self.remote.name,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, machine.port())),
            image: self.remote.image.clone(),
            ek: self.remote.ek.clone(),
            bundle: self.remote.bundle.clone(),
        };
        Ok(Self { machine, remote })
    }

    /// Off, and on again without hands; serving.
    ///
    /// # Errors
    /// It does not come up Operational.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.machine.cut();
        self.machine.start()?;
        let line = self.machine.serial.wait("casemate: phase", BOOT)?;
        ensure!(line.contains("operational"), "{line}\n{}", self.machine.serial.text());
        self.wait_ready(Instant::now())?;
        Ok(())
    }
}

/// The body of a decrypt of what [`Box::encrypt`] gave.
#[must_use]
pub fn decrypt_body(token: &str) -> Vec<u8> {
    serde_json::json!({ "token": token, "context": context() }).to_string().into_bytes()
}

fn context() -> serde_json::Value {
    serde_json::json!({ "column": "users.email", "row": "7" })
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
