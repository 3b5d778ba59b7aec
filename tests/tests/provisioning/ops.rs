//! People with the tool: a site's directory, signers' and custodians' keys, and a way to run `casemate`
//! as they do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use casemate_formats::{
    anchors::Anchors,
    digest::Digest,
    manifest::{FORMAT, File, Manifest, Signed},
};
use casemate_tests::{
    alone::alone,
    esps::Esps,
    firmware_log::FirmwareLog,
    host::{Host, Options},
    site::SECTIONS,
};
use serde_json::Value;
use tempfile::TempDir;

/// Custodians of the site; two of them open the root.
pub const CUSTODIANS: [&str; 3] = ["ann", "bob", "cyd"];
/// Clients and what stands below their keys in bundle.toml.
pub const CLIENTS: [(&str, &str); 3] = [
    ("audit", "roles = [\"audit\"]"),
    ("ops", "roles = [\"operate\", \"monitor\"]"),
    ("rails", "keyrings.pii = [\"encrypt\", \"decrypt\"]"),
];

pub struct Ops {
    folder: TempDir,
}

/// What a run of the tool gave.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Its JSON document; the run must have succeeded.
    pub fn ok(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its refusal, by code; it must say what was expected or what to do.
    pub fn refused(&self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        let value: Value = serde_json::from_str(&self.stdout).expect("a JSON document");
        let failure = &value["failure"];
        assert!(failure["next"].is_string(), "{self:?}");
        failure["code"].as_str().expect("a code").to_owned()
    }
}

impl Ops {
    /// A new site by `casemate site init`, with a listed image and listed clients.
    pub fn new() -> Result<Self> {
        let ops = Self { folder: TempDir::new()? };
        let mut init = vec!["site".into(), "init".into(), ops.text("site")];
        init.extend(["--namespace".into(), "example".into(), "--threshold".into(), "2".into()]);
        for signer in ["s0", "s1", "s2"] {
            let mut command = alone("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", signer, "-f"]);
            succeed(command.arg(ops.path(signer)))?;
            init.extend(["--signer".into(), ops.text(&format!("{signer}.pub"))]);
        }
        for custodian in CUSTODIANS {
            let key = ops.path(&format!("{custodian}.age"));
            succeed(alone("age-keygen").arg("-o").arg(&key))?;
            let recipient = succeed(alone("age-keygen").arg("-y").arg(&key))?;
            init.extend(["--custodian".into(), format!("{custodian}={}", recipient.trim())]);
        }
        init.extend(["--custodian-threshold".into(), "2".into()]);
        ops.run(&init.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        ops.list_image()?;
        ops.list_clients()?;
        Ok(ops)
    }

    /// Lists the image that boxes here pretend to run, as built with the present anchors.
    pub fn list_image(&self) -> Result<()> {
        let anchors = fs::read(self.path("site/anchors"))?;
        fs::write(self.path("manifest.json"), manifest(&anchors).to_json())?;
        self.on_site(&["bundle", "add-image", &self.text("manifest.json")]).ok();
        Ok(())
    }

    fn list_clients(&self) -> Result<()> {
        let file = self.path("site/bundle.toml");
        let mut text = fs::read_to_string(&file)?;
        let (head, root) = text.split_once("\n[root]").context("a [root] table")?;
        let mut lines = String::from(
            "\n[[keyring]]\nname = \"pii\"\ncontext = [\"column\", \"user\"]\nversions = [1]\n",
        );
        for (name, roles) in CLIENTS {
            let made = self.run(&["client", "new", name, "--out", &self.text("clients")]).ok();
            let key = made["spki_sha256"].as_str().context("a digest")?;
            lines.push_str(&format!(
                "\n[[client]]\nname = \"{name}\"\nkeys = [\"{key}\"]\n{roles}\n"
            ));
        }
        text = format!("{head}\n{lines}\n[root]{root}");
        fs::write(file, text)?;
        Ok(())
    }

    /// A box of this site, on and without a bundle.
    pub fn boot(&self) -> Result<Host> {
        self.boot_with(|_| {})
    }

    /// The same with two ESPs that hold image 1.
    pub fn boot_on(&self, esps: &Arc<Esps>) -> Result<Host> {
        let anchors = Anchors::decode(&fs::read(self.path("site/anchors"))?)?;
        let esps = Some(Arc::clone(esps));
        Host::with(Options { anchors: Some(anchors), esps, ..Options::default() })
    }

    /// The same with a firmware that does something else too.
    pub fn boot_with(&self, firmware: fn(&mut FirmwareLog)) -> Result<Host> {
        let anchors = Anchors::decode(&fs::read(self.path("site/anchors"))?)?;
        let firmware = Some(firmware);
        Host::with(Options { anchors: Some(anchors), firmware, ..Options::default() })
    }

    /// `casemate … --json`, in the folder of these people.
    pub fn run(&self, arguments: &[&str]) -> Run {
        // age looks for its plugins there.
        let plugins = Path::new(env!("CARGO_BIN_EXE_age-plugin-token")).parent();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = plugins.into_iter().map(Path::to_owned).chain(std::env::split_paths(&path));
        let out = alone(env!("CARGO_BIN_EXE_casemate-tool"))
            .args(arguments)
            .arg("--json")
            .env("PATH", std::env::join_paths(folders).expect("folders"))
            .current_dir(self.folder.path())
            .output()
            .expect("the tool starts");
        Run {
            code: out.status.code().expect("an exit code"),
            stdout: String::from_utf8(out.stdout).expect("text"),
            stderr: String::from_utf8(out.stderr).expect("text"),
        }
    }

    /// `casemate … --site site --json`.
    pub fn on_site(&self, arguments: &[&str]) -> Run {
        self.run(&[arguments, &["--site", &self.text("site")]].concat())
    }

    /// `casemate … --site site --host alpha --client NAME --json`.
    pub fn on_host(&self, arguments: &[&str], client: &str) -> Run {
        let client = self.text(&format!("clients/{client}"));
        self.on_site(&[arguments, &["--host", "alpha", "--client", &client]].concat())
    }

    /// `casemate … --site site --client clients/ops --json`.
    pub fn as_ops(&self, arguments: &[&str]) -> Run {
        self.on_site(&[arguments, &["--client", &self.text("clients/ops")]].concat())
    }

    /// `casemate host add alpha` with this fingerprint.
    pub fn host_add(&self, host: &Host, ek: &str) -> Run {
        self.add("alpha", host, ek, &[])
    }

    /// `casemate host add NAME`.
    pub fn add(&self, name: &str, host: &Host, ek: &str, more: &[&str]) -> Run {
        let address = host.address.to_string();
        let add = ["host", "add", name, "--address", &address, "--ek", ek, "--yes"];
        self.on_site(&[&add[..], more].concat())
    }

    /// Two of the signers sign.
    pub fn sign(&self) -> Value {
        let (s0, s1) = (self.text("s0"), self.text("s1"));
        self.on_site(&["bundle", "sign", "--key", &s0, "--key", &s1, "--yes"]).ok()
    }

    /// Builds, signs by two, pushes; what the box answered.
    pub fn bundle(&self) -> Value {
        self.on_site(&["bundle", "build"]).ok();
        self.sign();
        self.on_site(&["bundle", "push", "--host", "alpha"]).ok()[0]["answer"].clone()
    }

    /// Genesis, every acknowledgement, the bundle that names the root.
    pub fn establish(&self) -> Value {
        self.genesis(&CUSTODIANS);
        self.on_site(&["bundle", "new"]).ok();
        self.bundle()
    }

    /// Genesis on alpha, and these custodians' acknowledgements.
    pub fn genesis(&self, custodians: &[&str]) -> Value {
        let made = self.on_host(&["genesis", "run"], "ops").ok();
        let file = made["file"].as_str().expect("a file").to_owned();
        for custodian in custodians {
            let identity = self.text(&format!("{custodian}.age"));
            let out = self.text("shares");
            let ack = ["share", "ack", &file, "--identity", &identity, "--out", &out];
            self.on_site(&ack).ok();
        }
        made
    }

    /// A custodian's identity, made when it is first asked for; its recipient.
    pub fn custodian(&self, name: &str) -> String {
        let key = self.path(&format!("{name}.age"));
        if !key.exists() {
            succeed(alone("age-keygen").arg("-o").arg(&key)).expect("age-keygen");
        }
        let recipient = succeed(alone("age-keygen").arg("-y").arg(&key)).expect("age-keygen");
        recipient.trim().to_owned()
    }

    /// A share file of a custodian.
    pub fn share(&self, name: &str, root: u32, split: u32) -> String {
        self.text(&format!("shares/example-{root}-{split}-{name}.share.age"))
    }

    /// `casemate share seal`: without the site's directory, as a custodian does it.
    pub fn seal(&self, request: &str, name: &str, (root, split): (u32, u32), more: &[&str]) -> Run {
        let (share, identity) = (self.share(name, root, split), self.text(&format!("{name}.age")));
        let out = self.text(&format!("{name}.sealed"));
        let seal = ["share", "seal", request, "--share", &share, "--identity", &identity];
        self.run(&[&seal[..], &["-o", &out, "--yes"], more].concat())
    }

    /// curl, as the application calls it: status and JSON.
    pub fn curl(&self, host: &Host, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.curl_as("alpha", host, path, body)
    }

    /// The same of a box of this name.
    pub fn curl_as(
        &self,
        name: &str,
        host: &Host,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value)> {
        let connect = format!("{name}.example.casemate:8443:{}", host.address);
        let out = succeed(
            alone("curl")
                .args(["--silent", "--show-error", "--connect-to", &connect])
                .arg("--cacert")
                .arg(self.path("site/authorities.pem"))
                .arg("--cert")
                .arg(self.path("clients/rails.crt"))
                .arg("--key")
                .arg(self.path("clients/rails.key"))
                .args(["--header", "content-type: application/json"])
                .args(["--data", &body.to_string(), "--write-out", "\n%{http_code}"])
                .arg(format!("https://{name}.example.casemate:8443{path}")),
        )?;
        let (text, status) = out.trim_end().rsplit_once('\n').context("a status line")?;
        Ok((status.parse()?, serde_json::from_str(text)?))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The manifest of the image that boxes here pretend to run.
fn manifest(anchors: &[u8]) -> Manifest {
    let image =
        FirmwareLog::image(&SECTIONS, Digest::sha256(b"a signed UKI"), Digest::sha256(b"an ESP"));
    let file = |sha256| File { bytes: 1, sha256 };
    Manifest {
        format: FORMAT,
        version: "0.1.0".into(),
        namespace: "example".into(),
        anchors: Digest::sha256(anchors),
        pcr11: image.pcr11,
        authenticode: image.authenticode,
        unsigned: file(Digest::sha256(b"an unsigned UKI")),
        signed: Some(Signed {
            uki: file(Digest::sha256(b"a signed UKI's file")),
            esp: file(image.esp),
            certificate: Digest::ZERO,
        }),
        sections: vec![],
        sources: vec![],
        packages: vec![],
        products: vec![],
    }
}

fn succeed(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?} does not start"))?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}
