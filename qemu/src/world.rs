//! A throwaway site in a folder: its directory, its people, its image, its machines, and the project's
//! commands run in it as people would type them. The demo and the drills are stories told in one.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::{digest::Digest, manifest::Manifest};
use serde_json::{Value, json};

use crate::{
    machine::{Hardware, Machine},
    people::{CUSTODIANS, OPERATORS, People},
    report::Report,
    tools::{self, Tools},
};

/// For a line of a boot under TCG, far beyond any on an idle machine: what is waited for is that the
/// machine fails, not that this one is busy.
pub const BOOT: Duration = Duration::from_secs(600);
/// The site's name.
pub const NAMESPACE: &str = "demo";
/// Signers that a bundle needs, and custodians that a recovery needs.
pub const THRESHOLD: usize = 2;

/// Clients of the site: name, and their line in `bundle.toml`.
const CLIENTS: [(&str, &str); 3] = [
    ("rails", "keyrings = { pii = [\"encrypt\", \"decrypt\"] }"),
    ("ops", "roles = [\"operate\", \"monitor\"]"),
    ("auditor", "roles = [\"audit\"]"),
];

/// A site and its machines.
pub struct World {
    folder: PathBuf,
    tools: Tools,
    machines: BTreeMap<String, Machine>,
    /// What is shown while the story runs.
    pub report: Report,
}

impl World {
    /// The world in `folder`, as far as it stands there already.
    ///
    /// # Errors
    /// The tools are not built.
    pub fn open(folder: &Path, report: Report) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        Ok(Self { folder, tools: Tools::find()?, machines: BTreeMap::new(), report })
    }

    /// A file of it: `site`, `people`, `image`, `machines`.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes people and site anew: two of three sign, two of three hold the root.
    ///
    /// # Errors
    /// A command's own.
    pub fn make_site(&self) -> Result<()> {
        let people = People::create(&self.at("people"))?;
        let _ = fs::remove_dir_all(self.at("site"));
        let threshold = THRESHOLD.to_string();
        let mut init = vec!["site".to_owned(), "--namespace".to_owned(), NAMESPACE.to_owned()];
        for operator in OPERATORS {
            init.extend(["--signer".to_owned(), format!("people/{operator}.pub")]);
        }
        init.extend(["--threshold".to_owned(), threshold.clone()]);
        for custodian in CUSTODIANS {
            let recipient = people.recipient(custodian)?;
            init.extend(["--custodian".to_owned(), format!("{custodian}={recipient}")]);
        }
        init.extend(["--custodian-threshold".to_owned(), threshold]);
        let init: Vec<&str> = init.iter().map(String::as_str).collect();
        self.casemate(&["site", "init"], &init)?;
        self.append(
            "[[keyring]]\nname = \"pii\"\ncontext = [\"column\", \"user\"]\nversions = [1]",
        )?;
        for (name, rights) in CLIENTS {
            for half in ["crt", "key"] {
                let _ = fs::remove_file(self.at("people").join(format!("{name}.{half}")));
            }
            let lines = self.casemate(&["client", "new", name], &["--out", "people"])?;
            let record = lines.find("[[client]]").context("lines for bundle.toml")?;
            self.append(&format!("{}\n{rights}", lines[record..].trim_end()))?;
        }
        Ok(())
    }

    /// Builds the site's image and signs it, into `folder`.
    ///
    /// # Errors
    /// The image builder's own.
    pub fn make_image(&self, folder: &Path) -> Result<()> {
        let mut build = self.tools.image();
        build.arg("build").arg("--anchors").arg(self.at("site/anchors"));
        self.run_long(build.arg("--out").arg(folder))?;
        self.sign_image(folder)
    }

    fn sign_image(&self, folder: &Path) -> Result<()> {
        let mut sign = self.tools.image();
        sign.arg("sign").arg("--dir").arg(folder);
        sign.arg("--key").arg(self.at("site/private/db.key"));
        self.run(sign.arg("--certificate").arg(self.at("site/secure-boot/db.crt")))?;
        Ok(())
    }

    /// Builds another image of the same site into `name`: with another program as PID 1, or with the
    /// same one and a byte behind it, which makes it another image.
    ///
    /// # Errors
    /// The image builder's own.
    pub fn make_other_image(&self, name: &str, init: Option<&Path>) -> Result<()> {
        let firmware = self.run(self.tools.image().arg("firmware"))?;
        let mut other = fs::read(init.unwrap_or_else(|| Path::new(firmware.trim())))?;
        other.push(b'\n');
        let file = self.at("init");
        fs::write(&file, other)?;
        let mut build = self.tools.image();
        build.arg("build").arg("--anchors").arg(self.at("site/anchors")).arg("--init").arg(file);
        self.run_long(build.arg("--out").arg(self.at(name)))?;
        self.sign_image(&self.at(name))
    }

    /// The id of an image: PCR 11 at `enter-casemate`.
    ///
    /// # Errors
    /// It has no manifest.
    pub fn image_id(&self, name: &str) -> Result<Digest> {
        let manifest = fs::read_to_string(self.at(name).join("manifest.json"))?;
        let manifest = Manifest::parse(&manifest)?;
        Ok(manifest.pcr11)
    }

    /// The people of the site.
    #[must_use]
    pub fn people(&self) -> People {
        People::open(&self.at("people"))
    }

    /// A product of the image builder: in `image/`, or in the world's folder itself (the demo's).
    #[must_use]
    pub fn image(&self, name: &str) -> PathBuf {
        let own = self.at("image").join(name);
        if own.exists() { own } else { self.at(name) }
    }

    /// The machine `name` in `folder`, off; a new one gets a copy of `disk`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn place(&mut self, name: &str, folder: &Path, disk: &Path) -> Result<&mut Machine> {
        let machine = Machine::create(folder, disk, Hardware::default())?;
        self.put(name, machine);
        self.machine(name)
    }

    /// Puts a machine into the story.
    pub fn put(&mut self, name: &str, machine: Machine) {
        self.machines.insert(name.to_owned(), machine);
    }

    /// A machine by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&mut self, name: &str) -> Result<&mut Machine> {
        self.machines.get_mut(name).with_context(|| format!("no machine {name} in this story"))
    }

    /// A machine by its name, to look at.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&Machine> {
        self.machines.get(name).with_context(|| format!("no machine {name} in this story"))
    }

    /// Names of all machines.
    #[must_use]
    pub fn machines(&self) -> Vec<String> {
        self.machines.keys().cloned().collect()
    }

    /// Takes a machine out of the story.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, name: &str) -> Result<Machine> {
        self.machines.remove(name).with_context(|| format!("no machine {name} in this story"))
    }

    /// Where a machine's appliance answers.
    ///
    /// # Errors
    /// There is none.
    pub fn address(&mut self, name: &str) -> Result<String> {
        Ok(self.machine(name)?.address())
    }

    /// Waits until its console shows the phase of this boot and the open port; shows the former.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_phase(&mut self, name: &str) -> Result<String> {
        let machine = self.machine(name)?;
        let line = machine.serial.wait("casemate: phase", BOOT)?;
        machine.serial.wait("casemate: ready", BOOT)?;
        self.report.seen(&line);
        Ok(line)
    }

    /// Builds the bundle, has it signed by enough operators, and pushes it to one box.
    ///
    /// # Errors
    /// A command's own.
    pub fn sign_and_push(&mut self, host: &str) -> Result<()> {
        self.casemate(&["bundle", "build"], &["--site", "site"])?;
        for operator in &OPERATORS[..THRESHOLD] {
            let key = format!("people/{operator}");
            self.casemate(&["bundle", "sign"], &["--site", "site", "--key", &key, "--yes"])?;
        }
        let address = self.address(host)?;
        let to = ["--site", "site", "--host", host, "--address", &address];
        self.casemate(&["bundle", "push"], &to)?;
        Ok(())
    }

    /// A value encrypted by `host` for user 7; gives the body that decrypts it.
    ///
    /// # Errors
    /// The box refuses.
    pub fn encrypt(&self, host: &str, value: &str) -> Result<Value> {
        let context = json!({ "column": "users.email", "user": "7" });
        let plaintext = STANDARD.encode(value);
        let question = json!({ "keyring": "pii", "context": context, "plaintext": plaintext });
        let token = self.call(host, "/v1/encrypt", &question)?["token"].clone();
        self.report.seen(format_args!("Rails stores {token}"));
        Ok(json!({ "token": token, "context": context }))
    }

    /// Decrypts what [`Self::encrypt`] gave; it must be `value`.
    ///
    /// # Errors
    /// The box refuses, or says something else.
    pub fn decrypt(&self, host: &str, question: &Value, value: &str) -> Result<()> {
        let answer = self.call(host, "/v1/decrypt", question)?;
        ensure!(answer["plaintext"] == STANDARD.encode(value), "{host} decrypted something else");
        self.report.seen(format_args!("Rails reads {value} from {host}"));
        Ok(())
    }

    /// `curl` of a route, as the client `rails`.
    #[must_use]
    pub fn curl(&self, machine: &Machine, host: &str, path: &str, body: &str) -> Command {
        let name = format!("{host}.{NAMESPACE}.casemate:{}", machine.port());
        let address = machine.address();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--connect-to", &format!("{name}:{address}")])
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

    fn call(&self, host: &str, path: &str, question: &Value) -> Result<Value> {
        let machine = self.machines.get(host).with_context(|| format!("no machine {host}"))?;
        let answer = tools::output(&mut self.curl(machine, host, path, &question.to_string()))?;
        serde_json::from_str(&answer).with_context(|| format!("{path} answered {answer}"))
    }

    /// `casemate WORDS ARGUMENTS`, run in the world's folder.
    ///
    /// # Errors
    /// The command's own.
    pub fn casemate(&self, words: &[&str], arguments: &[&str]) -> Result<String> {
        let mut command = self.tools.casemate();
        self.run(command.args(words).args(arguments))
    }

    /// Shows a command and runs it in the world's folder.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        self.report.command(command);
        tools::output(command.current_dir(&self.folder))
    }

    /// As [`Self::run`], for a command that says on standard error how far it is.
    fn run_long(&self, command: &mut Command) -> Result<String> {
        self.report.command(command);
        tools::shown_output(command.current_dir(&self.folder))
    }

    /// Writes further lines into the site's `bundle.toml`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&self, lines: &str) -> Result<()> {
        let path = self.at("site/bundle.toml");
        let mut source = fs::OpenOptions::new().append(true).open(path)?;
        writeln!(source, "\n{lines}")?;
        Ok(())
    }

    /// The folder where programs of the project lie.
    #[must_use]
    pub const fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Copies all of this world, whose machines are off, into `folder`: people, site, image, machines
    /// with their ports.
    ///
    /// # Errors
    /// The file system's.
    pub fn copy(&self, folder: &Path, report: Report) -> Result<Self> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--sparse=always", "--reflink=auto"]);
        tools::output(copy.arg(self.folder.join(".")).arg(folder))?;
        let mut world = Self::open(folder, report)?;
        for name in self.machines.keys() {
            let (folder, disk) = (world.at("machines").join(name), world.image("disk.img"));
            world.place(name, &folder, &disk)?;
        }
        Ok(world)
    }
}
