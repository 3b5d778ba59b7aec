//! A directory with people's keys, the tool, and a box in software.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use casemate_formats::{
    anchors::Anchors,
    bundle::{Bundle, Envelope, Verified, armor::dearmor, source::HostRecord},
    digest::Digest,
    genesis::{Answer, Document},
    manifest::{File, Manifest, Signed},
    share::{Share, ShareFile, age, split},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use serde_json::Value;

use crate::{
    box_in_software::{SECTIONS, SoftBox, authenticode},
    firmware_log::FirmwareLog,
};

pub struct Workbench {
    dir: tempfile::TempDir,
    pub spoken: SoftBox,
}

/// What a command answered.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub json: Value,
    pub raw: String,
}

impl Said {
    /// The refusal's name.
    pub fn refusal(&self) -> &str {
        self.json["failure"]["code"].as_str().unwrap_or_else(|| panic!("no failure: {}", self.raw))
    }
}

fn run(dir: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).current_dir(dir).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

impl Workbench {
    /// Three signers of whom two are anchored, three custodians, no site.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind) in [("ann", "ed25519"), ("bob", "ecdsa"), ("eve", "ed25519")] {
            let made = run(dir.path(), "ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", name]);
            assert!(made.status.success());
        }
        for name in ["ann", "bob", "cyd", "eve"] {
            assert!(
                run(dir.path(), "age-keygen", &["-o", &format!("{name}.age")]).status.success()
            );
        }
        Self { dir, spoken: SoftBox::healthy() }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `casemate --json …`, run where the keys are.
    pub fn casemate(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .arg("--json")
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let raw = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Said { code: output.status.code().unwrap(), json, raw }
    }

    pub fn good(&self, arguments: &[&str]) -> Value {
        let said = self.casemate(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.raw);
        said.json
    }

    /// Exit code 1 and this name, with something to do next.
    pub fn refused(&self, arguments: &[&str], name: &str) {
        let said = self.casemate(arguments);
        assert_eq!((said.code, said.refusal()), (1, name), "{arguments:?}: {}", said.raw);
        assert!(said.json["failure"]["next"].is_string(), "{}", said.raw);
    }

    pub fn recipient(&self, name: &str) -> String {
        let text = run(self.dir.path(), "age-keygen", &["-y", &format!("{name}.age")]);
        String::from_utf8(text.stdout).unwrap().trim().to_owned()
    }

    pub fn init(&self) -> Value {
        let recipients: Vec<String> = ["ann", "bob", "cyd"]
            .iter()
            .map(|name| format!("{name}={}", self.recipient(name)))
            .collect();
        let mut arguments = vec!["site", "init", "site", "--namespace", "example"];
        arguments.extend(["--signer", "ann.pub", "--signer", "bob.pub"]);
        for recipient in &recipients {
            arguments.extend(["--custodian", recipient]);
        }
        self.good(&arguments)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// The manifest of the image that the box runs.
    pub fn manifest(&self) -> Manifest {
        let image = crate::box_in_software::image();
        let file = |sha256| File { bytes: 1, sha256 };
        let anchors = Digest::sha256(&fs::read(self.path("site/anchors")).unwrap());
        Manifest {
            format: 1,
            version: "0.1.0".into(),
            namespace: "example".into(),
            anchors,
            pcr11: image.pcr11,
            authenticode: image.authenticode,
            unsigned: file(Digest::ZERO),
            signed: Some(Signed {
                uki: file(Digest::ZERO),
                esp: file(image.esp),
                certificate: Digest::ZERO,
            }),
            sections: Vec::new(),
            sources: Vec::new(),
            packages: Vec::new(),
            products: Vec::new(),
        }
    }

    pub fn write_manifest(&self, manifest: &Manifest) {
        fs::write(self.path("manifest.json"), serde_json::to_string(manifest).unwrap()).unwrap();
    }

    /// The record that `host add` would write.
    pub fn list_host(&self) {
        let host = self.spoken.host();
        let record = HostRecord {
            ek: host.ek,
            ek_template: host.ek_template,
            ak: host.ak,
            pcr7: host.pcr7.to_vec(),
            boot_applications: Vec::new(),
            budget_share: None,
            sealed: true,
            retired: false,
            reach: None,
            network: Default::default(),
        };
        fs::create_dir_all(self.path("site/hosts")).unwrap();
        fs::write(self.path("site/hosts/alpha.toml"), record.format().unwrap()).unwrap();
    }

    /// A site with an image and a host; nothing built yet.
    pub fn ready() -> Self {
        let mut bench = Self::new();
        bench.init();
        let anchors = Anchors::decode(&fs::read(bench.path("site/anchors")).unwrap()).unwrap();
        bench.spoken = SoftBox::new(FirmwareLog::boot(&anchors, &SECTIONS, authenticode()));
        bench.write_manifest(&bench.manifest());
        bench.good(&["bundle", "add-image", "--site", "site", "manifest.json"]);
        bench.list_host();
        bench
    }

    /// Builds, and has both signers sign.
    pub fn signed(&self) -> Verified {
        self.good(&["bundle", "build", "--site", "site"]);
        for key in ["ann", "bob"] {
            self.good(&["bundle", "sign", "--site", "site", "--key", key, "--yes"]);
        }
        self.newest()
    }

    /// The envelope of any bundle, signed by these.
    pub fn envelope(&self, bundle: &Bundle, signers: &[&str]) -> Vec<u8> {
        let body = bundle.encode();
        fs::write(self.path("body"), &body).unwrap();
        let signatures = signers.iter().map(|signer| {
            let _ = fs::remove_file(self.path("body.sig"));
            self.ssh_keygen_sign(signer, "casemate.bundle.v1", "body");
            dearmor(&self.read("body.sig")).unwrap()
        });
        Envelope { signatures: signatures.collect(), body }.encode().unwrap()
    }

    pub fn newest(&self) -> Verified {
        let site = casemate_cli::site::Site::open(&self.path("site")).unwrap();
        site.newest_signed(None).unwrap().unwrap()
    }

    /// What the box answers, with real shares of `root`.
    pub fn answer(&self, bundle: &Verified, root: &[u8; 32]) -> Answer {
        let asked = bundle.bundle().root.asked().unwrap();
        let fingerprint = Digest::sha256(root);
        let shares = split::split(root, &asked).unwrap();
        let commitments = shares.iter().map(Share::commitment).collect();
        let shares = shares.into_iter().zip(asked.custodians).map(|(share, custodian)| {
            let casemate_formats::bundle::body::Recipient::AgeX25519(recipient) =
                &custodian.recipient;
            let file = ShareFile {
                namespace: bundle.bundle().site.namespace.clone(),
                generation: asked.generation,
                split: asked.split,
                threshold: asked.threshold,
                fingerprint,
                share,
                anchors: Vec::new(),
                bundle: Vec::new(),
            };
            age::encrypt(recipient, &file.expose_encoded(), &mut UnwrapErr(SysRng)).unwrap()
        });
        self.spoken.answer(Answer {
            bundle: bundle.digest(),
            generation: asked.generation,
            fingerprint,
            split: asked.split,
            commitments,
            authority: vec![0x30, 0],
            wrapped: None,
            shares: shares.collect(),
            ak_public: Vec::new(),
            pcrs: Vec::new(),
            attest: Vec::new(),
            signature: Vec::new(),
        })
    }

    pub fn write_answer(&self, bundle: &Verified, answer: Answer) {
        let document = Document { bundle: bundle.envelope().to_vec(), answer };
        fs::create_dir_all(self.path("site/genesis")).unwrap();
        let text = serde_json::to_string(&document).unwrap();
        fs::write(self.path("site/genesis/1-1.json"), text).unwrap();
    }

    /// Decrypts one of a custodian's files with age itself.
    pub fn age(&self, name: &str, file: &str) -> Vec<u8> {
        let done = run(self.dir.path(), "age", &["-d", "-i", &format!("{name}.age"), file]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let done = run(&self.path("site"), "git", arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    pub fn ssh_keygen_sign(&self, key: &str, namespace: &str, file: &str) {
        let made =
            run(self.dir.path(), "ssh-keygen", &["-Y", "sign", "-n", namespace, "-f", key, file]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}
