//! A throwaway site: signers with SSH keys, custodians, Secure Boot keys, clients. Made with the
//! tools that operators use (ssh-keygen, openssl) and the formats' own code.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Envelope,
        body::{
            Audit, Client, Custodian, EkTemplate, Grant, Host, Image, Keyring, Label, Network,
            Prefix, Roles, RootSection, Service, Site as SiteSection,
        },
        signature::NAMESPACE,
    },
    digest::{Digest, Name},
    efi::{
        signer::Signer,
        variable::{self, Variable},
    },
    measure,
    share::split::{self, Share},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{age::AgeIdentity, identity::Identity};

/// Signers of the throwaway site; two of them are needed.
pub const SIGNERS: usize = 3;
/// Custodians; two of them open the root.
pub const CUSTODIANS: usize = 3;
/// The keyring whose context names a column and a row.
pub const PII: &str = "pii";
/// The keyring whose context names a subject.
pub const NOTES: &str = "notes";
/// Name of the box.
pub const HOST: &str = "box1";

/// Clients of the throwaway site: name, own roles, roles on [`PII`], roles on [`NOTES`].
pub const CLIENTS: [(&str, Roles, Roles, Roles); 8] = [
    ("audit", Roles::AUDIT, NONE, NONE),
    ("far", NONE, ENCRYPT_DECRYPT, NONE),
    ("monitor", Roles::MONITOR, NONE, NONE),
    ("notes", NONE, NONE, ENCRYPT_DECRYPT),
    ("operate", Roles::OPERATE, NONE, NONE),
    ("reader", NONE, Roles::DECRYPT, NONE),
    ("web", NONE, ENCRYPT_DECRYPT, ENCRYPT_DECRYPT),
    ("writer", NONE, Roles::ENCRYPT, NONE),
];
const NONE: Roles = Roles(0);
const ENCRYPT_DECRYPT: Roles = Roles::ENCRYPT.union(Roles::DECRYPT);

/// Sections of the image that the box pretends to have booted.
pub const SECTIONS: [(&str, &[u8]); 2] = [(".linux", b"a kernel"), (".initrd", b"an initramfs")];

/// Everything a site's people have.
pub struct Site {
    folder: TempDir,
    /// What its images trust.
    pub anchors: Anchors,
    /// By name, as in [`CLIENTS`].
    pub clients: BTreeMap<&'static str, Identity>,
    /// A client that no bundle lists.
    pub stranger: Identity,
    /// By position.
    pub custodians: Vec<AgeIdentity>,
    /// What the last genesis gave them.
    pub shares: Mutex<Vec<Share>>,
}

impl Site {
    /// A new site.
    ///
    /// # Errors
    /// ssh-keygen or openssl are missing or fail.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut signers = heapless::Vec::new();
        for signer in 0..SIGNERS {
            let file = folder.path().join(format!("signer{signer}"));
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "signer", "-f"]).arg(&file);
            run(&mut command)?;
            let public = fs::read_to_string(file.with_extension("pub"))?;
            let blob = public.split(' ').nth(1).context("a public key")?;
            signers.push(STANDARD.decode(blob)?).map_err(|_| anyhow!("few signers"))?;
        }
        let secure_boot = secure_boot_key(folder.path())?;
        let update = |variable| {
            variable::sign(variable, 1_700_000_000, &[secure_boot.certificate()], &secure_boot)
        };
        let anchors = Anchors {
            namespace: label("example"),
            threshold: 2,
            signers,
            pk: update(Variable::Pk)?,
            kek: update(Variable::Kek)?,
            db: update(Variable::Db)?,
        };
        let clients = CLIENTS.iter().map(|(name, ..)| Ok((*name, Identity::new(name)?)));
        let custodians = (1..=CUSTODIANS).map(|n| {
            let mut secret = [0; 32];
            aws_lc_rs::rand::fill(&mut secret).map_err(|_| anyhow!("random bytes for {n}"))?;
            Ok(AgeIdentity::new(secret))
        });
        Ok(Self {
            anchors,
            clients: clients.collect::<Result<_>>()?,
            stranger: Identity::new("stranger")?,
            custodians: custodians.collect::<Result<_>>()?,
            shares: Mutex::default(),
            folder,
        })
    }

    /// Writes what its people must keep into `folder`: anchors, two signers' keys, custodians' secrets.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, folder: &Path, secrets: &[[u8; 32]]) -> Result<()> {
        fs::write(folder.join("anchors"), self.anchors.encode()?)?;
        for signer in ["signer0", "signer1"] {
            fs::copy(self.folder.path().join(signer), folder.join(signer))?;
        }
        fs::write(folder.join("custodians"), secrets.concat())?;
        Ok(())
    }

    /// A site whose people kept what [`Self::write`] wrote; its clients are new.
    ///
    /// # Errors
    /// The file system's, or the files are not these.
    pub fn read(kept: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let mut site = Self::new()?;
        site.anchors = Anchors::decode(&fs::read(kept.join("anchors"))?)?;
        for signer in ["signer0", "signer1"] {
            let file = site.folder.path().join(signer);
            fs::copy(kept.join(signer), &file)?;
            // ssh-keygen takes no key that others can read.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            fs::remove_file(file.with_extension("pub"))?;
        }
        let secrets = fs::read(kept.join("custodians"))?;
        let secrets =
            secrets.chunks_exact(32).map(|secret| Ok(AgeIdentity::new(secret.try_into()?)));
        site.custodians = secrets.collect::<Result<_>>()?;
        Ok(site)
    }

    /// The root, as all custodians together could have it: for tests that look for it where it must not be.
    ///
    /// # Errors
    /// There was no genesis.
    pub fn root(&self) -> Result<Zeroizing<[u8; 32]>> {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        split::combine(&shares).map_err(|error| anyhow!("{error}"))
    }

    /// A client's identity.
    ///
    /// # Panics
    /// There is no such client.
    #[must_use]
    pub fn client(&self, name: &str) -> &Identity {
        self.clients.get(name).expect("a client of the throwaway site")
    }

    /// Where its private files lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The image that its boxes run.
    #[must_use]
    pub fn image(&self) -> Image {
        Image {
            pcr11: measure::phase(measure::uki_pcr11(&SECTIONS), measure::ENTER),
            esp: Digest::sha256(b"an ESP"),
            authenticode: Digest::sha256(b"a signed UKI"),
        }
    }

    /// A bundle that lists these boxes and all clients, and asks for a first root.
    ///
    /// # Panics
    /// Never: the tables are small.
    #[must_use]
    pub fn bundle(&self, seq: u64, hosts: Vec<Host>) -> Bundle {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let custodians = self.custodians.iter().enumerate().map(|(at, identity)| Custodian {
            name: label(&format!("custodian{}", at + 1)),
            recipient: identity.recipient(),
        });
        Bundle {
            site: SiteSection {
                namespace: self.anchors.namespace.clone(),
                seq,
                issued: now,
                acknowledged_logs: Vec::new(),
            },
            images: [self.image()].into_iter().collect(),
            hosts,
            service: Service {
                port: 8443,
                keyrings: vec![
                    keyring(NOTES, &["user"], Some("user")),
                    keyring(PII, &["column", "row"], None),
                ],
                clients: CLIENTS.iter().map(|listed| self.listed(listed)).collect(),
            },
            root: RootSection {
                custodians: custodians.collect(),
                threshold: 2,
                split: 1,
                next: None,
                established: None,
            },
            audit: Audit { collectors_required: 0, overwrite: true },
            expected: Vec::new(),
        }
    }

    fn listed(&self, (name, roles, pii, notes): &(&str, Roles, Roles, Roles)) -> Client {
        let grants = [(NOTES, notes), (PII, pii)]
            .into_iter()
            .filter(|(_, roles)| **roles != NONE)
            .map(|(keyring, roles)| Grant { keyring: label(keyring), roles: *roles });
        // TEST-NET-3: nobody calls from there.
        let from = (*name == "far")
            .then(|| Prefix { address: "203.0.113.0".parse().expect("an address"), length: 24 });
        Client {
            name: label(name),
            keys: [self.client(name).digest()].into_iter().collect(),
            from: from.into_iter().collect(),
            roles: *roles,
            grants: grants.collect(),
        }
    }

    /// A bundle as it travels, signed by the first two signers.
    ///
    /// # Errors
    /// See [`Self::sign_by`].
    pub fn sign(&self, bundle: &Bundle) -> Result<Vec<u8>> {
        self.sign_by(bundle, &[0, 1])
    }

    /// A bundle as it travels, signed by these.
    ///
    /// # Errors
    /// ssh-keygen fails, or the bundle is too large.
    pub fn sign_by(&self, bundle: &Bundle, signers: &[usize]) -> Result<Vec<u8>> {
        let body = bundle.encode();
        let signatures = signers.iter().map(|signer| {
            self.ssh_signature(&self.folder.path().join(format!("signer{signer}")), &body)
        });
        let envelope = Envelope { signatures: signatures.collect::<Result<_>>()?, body };
        Ok(envelope.encode()?)
    }

    fn ssh_signature(&self, key: &Path, message: &[u8]) -> Result<Vec<u8>> {
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("ssh-keygen does not start")?;
        child.stdin.take().context("a pipe")?.write_all(message)?;
        let out = child.wait_with_output()?;
        ensure!(out.status.success(), "ssh-keygen did not sign");
        let armor = String::from_utf8(out.stdout)?;
        let body: String = armor.lines().filter(|line| !line.starts_with('-')).collect();
        Ok(STANDARD.decode(body)?)
    }
}

/// A name that is one.
///
/// # Panics
/// It is not.
#[must_use]
pub fn label(name: &str) -> Label {
    Label::parse(name).expect("a name")
}

/// A host record.
#[must_use]
pub fn host(name: &str, (ek, ek_template, ak): (Name, EkTemplate, Name), pcr7: Digest) -> Host {
    Host {
        name: label(name),
        ek,
        ek_template,
        ak,
        pcr7: [pcr7].into_iter().collect(),
        boot_applications: heapless::Vec::new(),
        network: Network {
            mac: None,
            vlan: None,
            addresses: heapless::Vec::new(),
            gateways: heapless::Vec::new(),
        },
        budget_share: None,
        sealed: true,
        retired: false,
    }
}

fn keyring(name: &str, context: &[&str], subject: Option<&str>) -> Keyring {
    Keyring {
        name: label(name),
        context: context.iter().map(|name| label(name)).collect(),
        subject: subject.map(label),
        versions: vec![1],
        first_version: 1,
    }
}

fn secure_boot_key(folder: &Path) -> Result<Signer> {
    let at = |name: &str| -> PathBuf { folder.join(name) };
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"])
        .args(["-subj", "/CN=Throwaway Secure Boot", "-keyout"])
        .arg(at("db.key"))
        .arg("-out")
        .arg(at("db.crt"));
    run(&mut command)?;
    let text = |name| fs::read_to_string(at(name));
    Ok(Signer::new(&text("db.key")?, &text("db.crt")?)?)
}

fn run(command: &mut Command) -> Result<()> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
