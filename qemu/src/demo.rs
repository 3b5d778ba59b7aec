//! The demo: from kernel source to a decrypted value, by the commands that people would type.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    machine::{Hardware, Machine},
    people::{CUSTODIANS, OPERATORS, People},
    report::Report,
    tools::{self, Tools},
};

/// A boot under TCG beside other work.
const BOOT: Duration = Duration::from_secs(180);
/// What is encrypted.
const VALUE: &str = "alice@example.org";
/// Name of the box.
const HOST: &str = "alpha";

/// The demo in its folder.
pub struct Demo {
    folder: PathBuf,
    tools: Tools,
    report: Report,
}

impl Demo {
    /// A demo that keeps everything in `folder`.
    ///
    /// # Errors
    /// The tools are not built.
    pub fn new(folder: &Path, steps: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        Ok(Self { folder, tools: Tools::find()?, report: Report::new(steps) })
    }

    /// Site and image: `target/demo/casemate.efi` and `manifest.json`.
    ///
    /// # Errors
    /// A command's own.
    pub fn build(&mut self) -> Result<()> {
        self.report.step("a site: operators, custodians, Secure Boot keys", "5 s");
        self.site()?;
        self.report.step("the image: kernel, firmware, UKI, signature", "1 min; the first time 10");
        let mut build = self.tools.image();
        build.arg("build").arg("--anchors").arg(self.at("site/anchors"));
        self.run_shown(build.arg("--out").arg(&self.folder))?;
        let mut sign = self.tools.image();
        sign.arg("sign").arg("--dir").arg(&self.folder);
        sign.arg("--key").arg(self.at("site/private/db.key"));
        self.run_shown(sign.arg("--certificate").arg(self.at("site/secure-boot/db.crt")))?;
        self.report.end();
        Ok(())
    }

    /// The story, on a machine that starts with empty firmware variables.
    ///
    /// # Errors
    /// The first thing that does not go as it should.
    pub fn play(&mut self) -> Result<Machine> {
        self.report.step("first power-on: the box enrols the site's Secure Boot keys", "40 s");
        let folder = self.at("machine");
        let _ = fs::remove_dir_all(&folder);
        let mut machine = Machine::create(&folder, &self.at("disk.img"), Hardware::default())?;
        machine.start()?;
        let enrolled = machine.serial.wait("casemate: enrolled PK", BOOT)?;
        self.report.seen(enrolled);
        let line = machine.serial.wait("casemate: ek ", BOOT)?;
        let ek = line.split("casemate: ek ").nth(1).context("a fingerprint")?.trim().to_owned();
        self.report.seen(format_args!("the console shows its endorsement key: {ek}"));
        machine.serial.wait("casemate: ready", BOOT)?;

        self.report.step("the box is listed: bundle 1, signed by two operators", "5 s");
        self.casemate(&["bundle", "add-image"], &["--site", "site", "manifest.json"])?;
        let address = machine.address();
        self.casemate(
            &["host", "add", HOST],
            &["--site", "site", "--address", &address, "--ek", &ek, "--yes"],
        )?;
        self.sign_and_push(&address)?;
        self.report.seen(machine.serial.wait("casemate: phase", BOOT)?);

        self.report
            .step("genesis: the box makes a root; custodians acknowledge their shares", "5 s");
        let client = ["--client", "people/ops"];
        let host = ["--site", "site", "--host", HOST, "--address", &address];
        self.casemate(
            &["genesis", "run"],
            &[&host[..], &client, &["-o", "genesis.json"]].concat(),
        )?;
        for custodian in CUSTODIANS {
            let identity = format!("people/{custodian}.age");
            self.casemate(
                &["share", "ack", "genesis.json"],
                &["--site", "site", "--identity", &identity, "--out", "people"],
            )?;
        }
        self.casemate(&["bundle", "new"], &["--site", "site"])?;
        self.sign_and_push(&address)?;
        self.report.seen(machine.serial.wait("casemate: phase", BOOT)?);

        self.report.step("a value is encrypted and decrypted over mutual TLS", "1 s");
        let context = json!({ "column": "users.email", "user": "7" });
        let plaintext = base64(VALUE.as_bytes());
        let question = json!({ "keyring": "pii", "context": context, "plaintext": plaintext });
        let token = self.call(&machine, "/v1/encrypt", &question)?["token"].clone();
        self.report.seen(format_args!("Rails stores {token}"));
        self.decrypt(&machine, &token, &context)?;

        self.report.step("power cut, and on again: nobody is at the keyboard", "25 s");
        machine.cut();
        machine.start()?;
        self.report.seen(machine.serial.wait("casemate: phase", BOOT)?);
        machine.serial.wait("casemate: ready", BOOT)?;
        self.decrypt(&machine, &token, &context)?;

        self.report.step("an auditor collects the log and verifies it", "2 s");
        let collector = ["--client", "people/auditor", "--into", "audit", "--once"];
        self.casemate(&["audit", "follow"], &[&host[..], &collector].concat())?;
        self.report.end();
        fs::write(
            self.at("decrypt.json"),
            json!({ "token": token, "context": context }).to_string(),
        )?;
        Ok(machine)
    }

    /// A curl line that works from another shell while the machine runs.
    #[must_use]
    pub fn curl_line(&self, machine: &Machine) -> String {
        let body = format!("@{}", self.at("decrypt.json").display());
        tools::shown(&self.curl(machine, "/v1/decrypt", &body))
    }

    fn site(&self) -> Result<()> {
        let people = People::create(&self.at("people"))?;
        let _ = fs::remove_dir_all(self.at("site"));
        let mut init = vec!["--namespace".to_owned(), "demo".to_owned()];
        for operator in OPERATORS {
            init.extend(["--signer".to_owned(), format!("people/{operator}.pub")]);
        }
        init.extend(["--threshold".to_owned(), "2".to_owned()]);
        for custodian in CUSTODIANS {
            let recipient = people.recipient(custodian)?;
            init.extend(["--custodian".to_owned(), format!("{custodian}={recipient}")]);
        }
        init.extend(["--custodian-threshold".to_owned(), "2".to_owned()]);
        let init: Vec<&str> = init.iter().map(String::as_str).collect();
        self.casemate(&["site", "init", "site"], &init)?;
        let mut source = fs::OpenOptions::new().append(true).open(self.at("site/bundle.toml"))?;
        let mut write = |text: String| std::io::Write::write_all(&mut source, text.as_bytes());
        write(
            "\n[[keyring]]\nname = \"pii\"\ncontext = [\"column\", \"user\"]\nversions = [1]\n"
                .into(),
        )?;
        for (name, rights) in [
            ("rails", "keyrings = { pii = [\"encrypt\", \"decrypt\"] }"),
            ("ops", "roles = [\"operate\", \"monitor\"]"),
            ("auditor", "roles = [\"audit\"]"),
        ] {
            for half in ["crt", "key"] {
                let _ = fs::remove_file(self.at("people").join(format!("{name}.{half}")));
            }
            let lines = self.casemate(&["client", "new", name], &["--out", "people"])?;
            let record = lines.find("[[client]]").context("lines for bundle.toml")?;
            write(format!("\n{}\n{rights}\n", lines[record..].trim_end()))?;
        }
        Ok(())
    }

    fn sign_and_push(&self, address: &str) -> Result<()> {
        self.casemate(&["bundle", "build"], &["--site", "site"])?;
        for operator in &OPERATORS[..2] {
            let key = format!("people/{operator}");
            self.casemate(&["bundle", "sign"], &["--site", "site", "--key", &key, "--yes"])?;
        }
        let to = ["--site", "site", "--host", HOST, "--address", address];
        self.casemate(&["bundle", "push"], &to)?;
        Ok(())
    }

    fn decrypt(&self, machine: &Machine, token: &Value, context: &Value) -> Result<()> {
        let question = json!({ "token": token, "context": context });
        let answer = self.call(machine, "/v1/decrypt", &question)?;
        ensure!(answer["plaintext"] == base64(VALUE.as_bytes()), "decrypted something else");
        self.report.seen(format_args!("Rails reads {VALUE}"));
        Ok(())
    }

    fn call(&self, machine: &Machine, path: &str, question: &Value) -> Result<Value> {
        let answer = tools::output(&mut self.curl(machine, path, &question.to_string()))?;
        serde_json::from_str(&answer).with_context(|| format!("{path} answered {answer}"))
    }

    fn curl(&self, machine: &Machine, path: &str, body: &str) -> Command {
        let name = format!("{HOST}.demo.casemate:{}", machine.port());
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--fail-with-body",
            "--connect-to",
            &format!("{name}:{}", machine.address()),
        ])
        .arg("--cacert")
        .arg(self.at("site/authorities.pem"))
        .arg("--cert")
        .arg(self.at("people/rails.crt"))
        .arg("--key")
        .arg(self.at("people/rails.key"))
        .args(["--json", body])
        .arg(format!("https://{name}{path}"));
        curl
    }

    fn casemate(&self, words: &[&str], arguments: &[&str]) -> Result<String> {
        let mut command = self.tools.casemate();
        self.run_shown(command.args(words).args(arguments))
    }

    fn run_shown(&self, command: &mut Command) -> Result<String> {
        self.report.command(command);
        tools::output(command.current_dir(&self.folder))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
