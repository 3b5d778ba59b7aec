//! A world in which a section of the runbooks is played: who is there, which machine they stand at, and
//! how a line of the page becomes a command.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    people::{CUSTODIANS, OPERATORS},
    report::Report,
    runbook::{Line, Who},
    world::{THRESHOLD, World},
};

/// What the old token holds.
pub const VALUE: &str = "alice@example.org";

/// A line that was played.
pub struct Played {
    /// As it stands on the page.
    pub line: Line,
    /// By everybody who typed it, one after another.
    pub took: Duration,
}

/// The world, and who is in it.
pub struct Scene {
    /// Site and machines.
    pub world: World,
    /// Signers who can be reached, in the order in which they are asked.
    pub signers: Vec<&'static str>,
    /// How many of them a bundle needs.
    pub signers_needed: usize,
    /// Custodians who can be reached.
    pub custodians: Vec<&'static str>,
    /// The page's words in capitals that this drill knows.
    pub words: BTreeMap<&'static str, String>,
    /// Fingerprint on the console of the machine that was powered on last.
    pub ek: Option<String>,
    /// The page's lines as they were played.
    pub timeline: Vec<Played>,
}

impl Scene {
    /// Everybody is there.
    #[must_use]
    pub fn new(world: World) -> Self {
        let words = [("IMAGE", "../image"), ("SHARES", "../people"), ("DBKEY", "private/db.key")];
        Self {
            world,
            signers: OPERATORS.to_vec(),
            signers_needed: THRESHOLD,
            custodians: CUSTODIANS.to_vec(),
            words: words.map(|(word, value)| (word, value.to_owned())).into(),
            ek: None,
            timeline: Vec::new(),
        }
    }

    /// What the lines played so far took together.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.timeline.iter().map(|played| played.took).sum()
    }

    /// The box that the section is about, and one that serves.
    pub fn about(&mut self, host: &str, live: &str) {
        self.words.insert("HOST", host.to_owned());
        self.words.insert("LIVE", live.to_owned());
    }

    /// Plays lines of the page.
    ///
    /// # Errors
    /// The first line that does not go as the page says.
    pub fn run(&mut self, lines: &[Line]) -> Result<()> {
        for line in lines {
            let since = Instant::now();
            self.line(line).with_context(|| format!("{:?} {}", line.who, line.text))?;
            self.timeline.push(Played { line: line.clone(), took: since.elapsed() });
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let words = |scene: &mut Self, person: Option<&str>| scene.fill(&line.text, person);
        match line.who {
            Who::Hands => {
                let act = words(self, None)?;
                self.hands(&act)
            }
            Who::Ops => {
                let command = words(self, None)?;
                self.type_in("ops", &command).map(drop)
            }
            Who::Signers => {
                ensure!(self.signers.len() >= self.signers_needed, "too few signers are left");
                for name in self.signers.clone().into_iter().take(self.signers_needed) {
                    let command = words(self, Some(name))?;
                    self.type_in(name, &command)?;
                }
                Ok(())
            }
            Who::Custodians | Who::Everyone => {
                let all = self.custodians.clone();
                let wanted = if line.who == Who::Everyone { all.len() } else { THRESHOLD };
                ensure!(all.len() >= wanted, "too few custodians are left");
                for name in all.into_iter().take(wanted) {
                    let command = words(self, Some(name))?;
                    self.type_in(name, &command)?;
                }
                Ok(())
            }
        }
    }

    /// Replaces the page's words in capitals.
    fn fill(&mut self, text: &str, person: Option<&str>) -> Result<String> {
        let mut filled = Vec::new();
        for word in text.split(' ') {
            filled.push(self.fill_word(word, person)?);
        }
        Ok(filled.join(" ").replace("cargo image", "casemate-image"))
    }

    fn fill_word(&mut self, word: &str, person: Option<&str>) -> Result<String> {
        let mut out = String::new();
        let mut rest = word;
        while let Some(first) = rest.find(|c: char| c.is_ascii_uppercase()) {
            let (before, tail) = rest.split_at(first);
            let end = tail.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(tail.len());
            let (name, after) = tail.split_at(end);
            out.push_str(before);
            if name.len() == 1 {
                out.push_str(name);
            } else {
                out.push_str(&self.value(name, person)?);
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, name: &str, person: Option<&str>) -> Result<String> {
        let person = || person.context("only signers and custodians have names and keys");
        let host = self.words.get("HOST").cloned();
        let host = || host.context("this drill is about no box");
        Ok(match name {
            "KEY" => format!("../people/{}", person()?),
            "ME" => person()?.to_owned(),
            "IDENTITY" => format!("../people/{}.age", person()?),
            "SHARE" => share(&self.world.at("people"), person()?)?,
            "DISK" => format!("../machines/{}/disk.img", host()?),
            // A file has no serial number: `flash` asks for its bytes.
            "SERIAL" => {
                let disk = self.world.machine(&host()?)?.path("disk.img");
                fs::metadata(disk)?.len().to_string()
            }
            "BUNDLE" => newest_bundle(&self.world.at("site"))?,
            "ADDRESS" => self.world.address(&host()?)?,
            "EK" => self.ek.clone().context("no fingerprint on the console")?,
            // What custodians hear by voice: the signers' own tool prints it.
            "FINGERPRINT" => self.anchors_fingerprint()?,
            other => self
                .words
                .get(other)
                .with_context(|| format!("{other}: a word in capitals that no drill can fill"))?
                .clone(),
        })
    }

    fn anchors_fingerprint(&self) -> Result<String> {
        let said = self.type_in("ops", "casemate --json site signers")?;
        // The terminal shows what was typed before what is answered.
        let json = &said[said.find('{').context("expected JSON")?..];
        let said: Value = serde_json::from_str(json.trim()).context("expected JSON")?;
        Ok(said["fingerprint"].as_str().context("a fingerprint")?.to_owned())
    }

    /// Types a command into a terminal, in the site's directory; every question is answered by yes.
    ///
    /// # Errors
    /// It fails; what it said is in the error.
    pub fn type_in(&self, who: &str, command: &str) -> Result<String> {
        let (code, said) = self.typed(who, command)?;
        ensure!(code == Some(0), "{who}$ {command}\n{said}");
        Ok(said)
    }

    /// Types a command that must be refused, and gives what was said.
    ///
    /// # Errors
    /// It succeeds, or says nothing of `name`.
    pub fn refused(&self, who: &str, command: &str, name: &str) -> Result<String> {
        let (code, said) = self.typed(who, command)?;
        ensure!(
            code == Some(1) && said.contains(name),
            "{who}$ {command}\nexpected the refusal {name} (exit code 1), found {code:?}\n{said}"
        );
        self.world.report.seen(format_args!("refused: {name}"));
        Ok(said)
    }

    fn typed(&self, who: &str, command: &str) -> Result<(Option<i32>, String)> {
        println!("  {who}$ {command}");
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = self.world.tools().folder().display().to_string();
        // A terminal of its own, because the tool asks nobody who is not there.
        let mut child = Command::new("script")
            .args(["-qefc", command, "/dev/null"])
            .current_dir(self.world.at("site"))
            .env("PATH", format!("{tools}:{path}"))
            .env("SHELL", "/bin/bash")
            .env("CASEMATE_CLIENT", "../people/ops")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("script does not start")?;
        // Held until it ends: `script` takes two seconds over the end of its input.
        let mut stdin = child.stdin.take();
        if let Some(stdin) = &mut stdin {
            // A command that asks nothing may have ended by then.
            let _ = stdin.write_all(b"yes\nyes\n");
        }
        let done = child.wait_with_output()?;
        drop(stdin);
        Ok((done.status.code(), String::from_utf8_lossy(&done.stdout).replace('\r', "")))
    }

    /// Changes a file of the site as with an editor.
    ///
    /// # Errors
    /// The file has no such text.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.world.at("site").join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file}: expected {from:?}, found\n{text}");
        self.world.report.seen(format_args!("{file}: {from} becomes {to}"));
        fs::write(path, text.replace(from, to))?;
        Ok(())
    }

    /// What was edited is built, signed and pushed to every box.
    ///
    /// # Errors
    /// A command's own.
    pub fn publish(&mut self) -> Result<()> {
        self.build_and_sign()?;
        self.type_in("ops", "casemate bundle push").map(drop)
    }

    /// What was edited is built and signed.
    ///
    /// # Errors
    /// A command's own.
    pub fn build_and_sign(&mut self) -> Result<()> {
        self.type_in("ops", "casemate bundle build --next")?;
        let sign = Line { who: Who::Signers, text: "casemate bundle sign --key KEY".to_owned() };
        self.line(&sign)
    }

    /// A box encrypts the value; its token is the old one from now on.
    ///
    /// # Errors
    /// It refuses.
    pub fn keep_token(&self, host: &str) -> Result<()> {
        let question = self.world.encrypt(host, VALUE)?;
        fs::write(self.world.at("token.json"), question.to_string())?;
        self.reads_old_token(host)
    }

    /// A box decrypts the old token.
    ///
    /// # Errors
    /// It refuses.
    pub fn reads_old_token(&self, host: &str) -> Result<()> {
        let question: Value = serde_json::from_slice(&fs::read(self.world.at("token.json"))?)?;
        self.world.decrypt(host, &question, VALUE)
    }
}

/// A world that was made before, with every machine that it has; off.
///
/// # Errors
/// It cannot be read.
pub fn reopen(folder: &Path) -> Result<World> {
    let mut world = World::open(folder, Report::new(0))?;
    if let Ok(machines) = fs::read_dir(world.at("machines")) {
        for machine in machines {
            let (name, path) = machine.map(|m| (m.file_name(), m.path()))?;
            let disk = world.image("disk.img");
            world.place(&name.to_string_lossy(), &path, &disk)?;
        }
    }
    Ok(world)
}

/// The newest share file of a custodian.
fn share(people: &Path, name: &str) -> Result<String> {
    let mut found: Vec<String> = fs::read_dir(people)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file.ends_with(&format!("-{name}.share.age")))
        .collect();
    found.sort();
    let file = found.pop().with_context(|| format!("{name} has no share file"))?;
    Ok(format!("../people/{file}"))
}

/// The newest bundle of the site's directory.
fn newest_bundle(site: &Path) -> Result<String> {
    let mut found: Vec<_> = fs::read_dir(site.join("bundles"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    found.sort();
    Ok(format!("bundles/{}", found.pop().context("the site has no bundle")?))
}
