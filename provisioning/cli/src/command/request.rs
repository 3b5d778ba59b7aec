//! `casemate request …`: what a box says about itself, and whether it holds.

use std::{fs, path::PathBuf};

use casemate_formats::{
    digest::{Digest, parse_hex},
    request::{
        Request,
        endorsement::EndorsementKey,
        eventlog::EventLog,
        firmware::{SecureBoot, applications},
        public::AttestationKey,
        verify::{Attested, Known},
    },
};

use crate::{
    attest::{self, Terms, or_none},
    output::{Failure, Output},
    reach::{self, Reach},
    site::{self, Site},
};

/// Requests: who a box is, what it booted, which keys it made for this boot.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Asks a box over a fresh nonce and keeps its answer.
    ///
    /// Asks a box over a fresh nonce and keeps its answer. With --host the answer is verified first; with
    /// --from it is kept as it is, for a box that no bundle lists yet.
    Fetch(Fetch),
    /// Shows what a request says, without believing it.
    Show(Show),
    /// Verifies a kept request against the site, offline.
    ///
    /// Verifies a kept request against the newest signed bundle: quote, event log, Secure Boot keys, image,
    /// host record. Whether it is fresh can be told only by who chose the nonce (--nonce).
    Verify(Verify),
}

/// Arguments of `casemate request fetch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate request fetch --from 10.0.0.7 -o alpha.request\n  \
    casemate request fetch --site site --host alpha -o alpha.request")]
pub struct Fetch {
    /// Address of a box that need not be listed.
    #[arg(long, value_name = "ADDRESS[:PORT]", conflicts_with = "host")]
    from: Option<String>,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of a listed box.
    #[arg(long, value_name = "NAME", required_unless_present = "from")]
    host: Option<String>,
    /// Where the listed box is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "host")]
    address: Option<String>,
    /// Where to keep the request.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Shows what a request says, without believing it: nothing of this is verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casemate request show alpha.request")]
pub struct Show {
    /// A kept request.
    file: PathBuf,
}

/// Arguments of `casemate request verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate request verify alpha.request --site site --host alpha")]
pub struct Verify {
    /// A kept request.
    file: PathBuf,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of the box that it must be.
    #[arg(long, value_name = "NAME")]
    host: String,
    /// The nonce that was asked with, 64 hex digits.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Fetch(command) => command.run(output),
            Self::Show(command) => command.run(output),
            Self::Verify(command) => command.run(output),
        }
    }
}

impl Fetch {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let (request, checked) = match (&self.from, self.host) {
            (Some(address), _) => (attest::ask(&mut reach::stranger(address)?, None)?.1, false),
            (None, host) => {
                let reach = Reach {
                    site: self.site,
                    host: host.unwrap_or_default(),
                    address: self.address,
                    client: None,
                };
                let mut listed = reach.listed()?;
                let anchors = listed.site.anchors()?;
                let images = &listed.bundle.bundle().images;
                let terms = Terms { anchors: &anchors, images, host: Known::Listed(&listed.host) };
                (attest::verified(&mut listed.connection, terms, None)?.0, true)
            }
        };
        let text = serde_json::to_string_pretty(&request).map_err(anyhow::Error::from)?;
        let written = site::write(&self.output, format!("{text}\n").as_bytes())?;
        let note = if checked { "verified" } else { "NOT verified" };
        output.result(
            format_args!("{written} {} ({note})", self.output.display()),
            &serde_json::json!({
                "file": self.output, "verified": checked, "nonce": Digest(request.nonce),
            }),
        );
        Ok(())
    }
}

impl Show {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let request = read(&self.file)?;
        let claims = &request.claims;
        let ek = EndorsementKey::parse(&request.ek_public)
            .map_or_else(|error| error.to_string(), |key| attest::fingerprint(key.name()));
        let ak = AttestationKey::parse(&request.ak_public)
            .map_or_else(|error| error.to_string(), |key| key.name().to_string());
        let firmware = firmware(&request.event_log);
        let pcrs: Vec<String> = request
            .pcrs
            .iter()
            .enumerate()
            .filter(|(_, value)| **value != Digest::ZERO)
            .map(|(index, value)| format!("  PCR {index:<2}   {value}"))
            .collect();
        let text = format!(
            "What {} says (nothing of it is verified):\n\
             phase      {}\nbundle     {}\nimage      {}\naudit log  {}\n\
             EK         {ek}\nAK         {ak}\n{firmware}\n{}",
            self.file.display(),
            claims.phase,
            or_none(&claims.bundle),
            claims.image,
            or_none(&claims.log_id),
            pcrs.join("\n"),
        );
        output.result(text, &request);
        Ok(())
    }
}

impl Verify {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let request = read(&self.file)?;
        let nonce = match &self.nonce {
            None => request.nonce,
            Some(text) => {
                parse_hex(text.as_bytes()).and_then(|n| n.try_into().ok()).ok_or_else(|| {
                    Failure::environment("nonce", "this is no nonce")
                        .expected("64 hex digits")
                        .found(text)
                })?
            }
        };
        let site = Site::open(&self.site)?;
        let (anchors, bundle) = (site.anchors()?, reach::signed(&site)?);
        let hosts = &bundle.bundle().hosts;
        let host = hosts.iter().find(|host| host.name.as_str() == self.host).ok_or_else(|| {
            Failure::refused("host-not-in-bundle", "the newest signed bundle lists no such host")
                .found(&self.host)
                .next("`casemate host add`, then build and sign a bundle")
        })?;
        let images = &bundle.bundle().images;
        let terms = Terms { anchors: &anchors, images, host: Known::Listed(host) };
        let attested = attest::verify_with(&request, &nonce, terms)?;
        if self.nonce.is_none() {
            output.note("its age is not known: the nonce is its own");
        }
        output.result(
            summary(&self.host, &attested),
            &serde_json::json!({ "host": self.host, "claims": attested.claims }),
        );
        Ok(())
    }
}

/// What a verified request proves, for people.
fn summary(host: &str, attested: &Attested) -> String {
    format!(
        "{host} runs a listed image under the site's Secure Boot keys\n\
         phase      {}\nbundle     {}\nimage      {}\nPCR 7      {}",
        attested.claims.phase,
        or_none(&attested.claims.bundle),
        attested.image.pcr11,
        attested.pcr7(),
    )
}

fn firmware(bytes: &[u8]) -> String {
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => return format!("event log  {error}"),
    };
    let state = SecureBoot::read(&log).map_or_else(
        |error| error.to_string(),
        |state| if state.enabled == [1] { "on".into() } else { "OFF".into() },
    );
    let started = applications(&log).map_or_else(
        |error| error.to_string(),
        |all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n           "),
    );
    format!("SecureBoot {state}\nstarted    {started}")
}

fn read(path: &std::path::Path) -> Result<Request, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::refused("malformed-file", format!("{}: {error}", path.display()))
            .expected("a request")
            .next("`casemate request fetch` writes one")
    })
}
