//! Clients that encrypt and decrypt one item after another on connections that they keep, and a bundle
//! that is pushed beside them.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{HOST, verify::Answered};
use crate::{
    people::OPERATORS,
    tools,
    world::{NAMESPACE, THRESHOLD, World},
};

/// Clients at once.
const CLIENTS: usize = 4;
/// Requests of one client: more than it has time for.
const REQUESTS: usize = 2_000;

/// Clients at work.
pub(super) struct Load {
    clients: Vec<JoinHandle<Result<Vec<String>>>>,
    push: Option<JoinHandle<Result<Option<u64>>>>,
}

impl Load {
    /// Starts them; `ids` begins the ids of their requests. With `push` a bundle is signed beforehand and
    /// pushed beside them.
    pub(super) fn start(world: &World, ids: &str, push: bool) -> Result<Self> {
        let pushing = push.then(|| bundle(world)).transpose()?;
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let (curl, ids) = client_of(world, &format!("{ids}-{client}"))?;
            clients.push(thread::spawn(move || answered(curl, &ids)));
        }
        let push = pushing.map(|(mut command, seq)| {
            thread::spawn(move || {
                let done = command.stdin(Stdio::null()).output()?;
                Ok(done.status.success().then_some(seq))
            })
        });
        Ok(Self { clients, push })
    }

    /// Takes down what was answered, once the power is gone.
    pub(super) fn finish(self, into: &mut Answered) -> Result<()> {
        for client in self.clients {
            into.items(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        if let Some(push) = self.push
            && let Some(seq) = push.join().map_err(|_| anyhow!("a push panicked"))??
        {
            into.bundle(seq);
        }
        Ok(())
    }
}

/// A curl that sends everything on one connection, as its configuration says; and the ids in order.
fn client_of(world: &World, ids: &str) -> Result<(Command, (Vec<String>, String))> {
    let machine = world.get(HOST)?;
    let name = format!("{HOST}.{NAMESPACE}.casemate:{}", machine.port());
    let quoted = |text: &str| json!(text).to_string();
    let at = |file: &str| quoted(&world.at(file).display().to_string());
    let question = json!({
        "keyring": "pii",
        "context": { "column": "users.email", "user": "7" },
        "plaintext": STANDARD.encode("alice@example.org"),
    });
    let mut configuration = String::new();
    let mut all = Vec::new();
    for number in 0..REQUESTS {
        let id = format!("{ids}-{number}");
        configuration.push_str(&format!(
            "url = {}\nconnect-to = {}\ncacert = {}\ncert = {}\nkey = {}\nmax-time = 30\nsilent\n\
             output = /dev/null\nwrite-out = \"%{{http_code}}\\n\"\nheader = {}\n\
             header = \"Content-Type: application/json\"\ndata = {}\nnext\n",
            quoted(&format!("https://{name}/v1/encrypt")),
            quoted(&format!("{name}:{}", machine.address())),
            at("site/authorities.pem"),
            at("people/rails.crt"),
            at("people/rails.key"),
            quoted(&format!("Request-Id: {id}")),
            quoted(&question.to_string()),
        ));
        all.push(id);
    }
    let mut curl = Command::new("curl");
    curl.args(["--fail-early", "--config", "-"]);
    Ok((curl, (all, configuration)))
}

/// Ids of the requests that were answered with 200. Curl goes on until the first that was not served.
fn answered(
    mut curl: Command,
    (ids, configuration): &(Vec<String>, String),
) -> Result<Vec<String>> {
    let pipe = || Stdio::piped();
    let mut child = curl.stdin(pipe()).stdout(pipe()).stderr(Stdio::null()).spawn()?;
    child.stdin.take().context("curl's input")?.write_all(configuration.as_bytes())?;
    let output = child.wait_with_output()?;
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    let done = ids.iter().zip(codes.lines()).filter(|(_, code)| *code == "200");
    Ok(done.map(|(id, _)| id.clone()).collect())
}

/// The next bundle, signed; the command that pushes it, and its number.
fn bundle(world: &World) -> Result<(Command, u64)> {
    let casemate = |words: &[&str]| {
        let mut command = world.tools().casemate();
        command.current_dir(world.at("."));
        command.args(words).args(["--site", "site"]);
        command
    };
    tools::output(&mut casemate(&["bundle", "new"]))?;
    tools::output(&mut casemate(&["bundle", "build"]))?;
    for operator in &OPERATORS[..THRESHOLD] {
        let key = format!("people/{operator}");
        tools::output(casemate(&["bundle", "sign"]).args(["--key", &key, "--yes"]))?;
    }
    let seq = seq(world)?;
    let mut push = casemate(&["bundle", "push"]);
    push.args(["--host", HOST, "--address", &world.get(HOST)?.address()]);
    Ok((push, seq))
}

/// `seq` of the site's `bundle.toml`.
fn seq(world: &World) -> Result<u64> {
    let source = std::fs::read_to_string(world.at("site/bundle.toml"))?;
    let line = source.lines().find_map(|line| line.trim().strip_prefix("seq"));
    let value =
        line.and_then(|rest| rest.trim().strip_prefix('=')).context("seq in bundle.toml")?;
    Ok(value.trim().parse()?)
}
