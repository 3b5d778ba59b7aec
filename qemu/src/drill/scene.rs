//! A world in which a section of the runbooks is played: who is there, which machine they stand at, and
//! how a line of the page becomes a command.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    people::{CUSTODIANS, OPERATORS},
    report::Report,
    runbook::{Line, Section, Who},
    world::{THRESHOLD, World},
};

/// What the old token holds.
pub const VALUE: &str = "alice@example.org";

/// The world, and who is in it.
pub struct Scene {
    /// Site and machines.
    pub world: World,
    /// Signers who can be reached, in the order in which they are asked.
    pub signers: Vec<&'static str>,
    /// Custodians who can be reached.
    pub custodians: Vec<&'static str>,
    /// The machine that somebody stands at.
    pub at: Option<String>,
    /// Fingerprint on the console of that machine.
    pub ek: Option<String>,
}

impl Scene {
    /// Everybody is there.
    ///
    /// # Errors
    /// None today.
    pub fn new(world: World) -> Result<Self> {
        Ok(Self {
            world,
            signers: OPERATORS.to_vec(),
            custodians: CUSTODIANS.to_vec(),
            at: None,
            ek: None,
        })
    }

    /// Plays the lines of a section.
    ///
    /// # Errors
    /// The first line that does not go as the page says.
    pub fn run(&mut self, section: &Section) -> Result<()> {
        self.world.report.step(&format!("{}: {}", section.name, section.title), "a minute");
        for line in &section.lines {
            self.line(line).with_context(|| format!("{:?} {}", line.who, line.text))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let words = |scene: &mut Self, person: Option<&str>| scene.fill(&line.text, person);
        match line.who {
            Who::Hands => self.hands(&line.text),
            Who::Ops => {
                let command = words(self, None)?;
                self.type_in("ops", &command).map(drop)
            }
            Who::Signers => {
                ensure!(self.signers.len() >= THRESHOLD, "too few signers are left");
                for name in self.signers.clone().into_iter().take(THRESHOLD) {
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
        let at = self.at.clone();
        let at = || at.context("nobody stands at a machine");
        Ok(match name {
            "KEY" => format!("../people/{}", person()?),
            "ME" => person()?.to_owned(),
            "IDENTITY" => format!("../people/{}.age", person()?),
            "SHARE" => share(&self.world.at("people"), person()?)?,
            "IMAGE" => "../image".to_owned(),
            "DISK" => format!("../machines/{}/disk.img", at()?),
            "ADDRESS" => {
                let at = at()?;
                self.world.address(&at)?
            }
            "EK" => format!("'{}'", self.ek.clone().context("no fingerprint on the console")?),
            other => bail!("{other}: a word in capitals that no drill can fill"),
        })
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
        if let Some(mut stdin) = child.stdin.take() {
            // A command that asks nothing may have ended by then.
            let _ = stdin.write_all(b"yes\nyes\n");
        }
        let done = child.wait_with_output()?;
        Ok((done.status.code(), String::from_utf8_lossy(&done.stdout).replace('\r', "")))
    }

    /// Encrypts a value on every box that is on, and keeps a token.
    ///
    /// # Errors
    /// A box refuses.
    pub fn keep_token(&mut self) -> Result<()> {
        let file = self.world.at("token.json");
        if !file.exists() {
            let question = self.world.encrypt("alpha", VALUE)?;
            fs::write(file, question.to_string())?;
        }
        self.reads_old_token("alpha")
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
