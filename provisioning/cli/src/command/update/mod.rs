//! `casemate update`: a new image onto one box after the other. Each is waited for until it has
//! committed the image; the first that does not ends the round.

mod image;
mod watch;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use casemate_formats::{api, bundle::Verified, code::Code};
use serde_json::json;

use self::image::Image;
use crate::{
    connection::{Identity, Progress},
    output::{Failure, Output},
    reach::{self, Listed},
    site::Site,
};

/// How long a box may be busy with its other ESP before it takes an image.
const BUSY: Duration = Duration::from_secs(120);
/// How often it is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Arguments of `casemate update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate update target/image --site site --host alpha --client ~/.config/casemate/ops\n  \
    casemate update target/image --site site --rolling --client ~/.config/casemate/ops\n\n\
    A fleet: `casemate bundle add-image`, `bundle build`, (signers) `bundle sign`, `bundle push --all`, this.")]
pub struct Command {
    /// Folder of `cargo image sign` (manifest.json and esp.img), or an ESP image.
    #[arg(value_name = "DIR_OR_ESP")]
    image: PathBuf,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Name of the box.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "rolling",
        conflicts_with = "rolling"
    )]
    host: Option<String>,
    /// Every listed box that is not retired, one at a time; ends at the first that does not come back.
    #[arg(long)]
    rolling: bool,
    /// Where the box is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "host")]
    address: Option<String>,
    /// Certificate and key of a client that may operate: FILE.crt and FILE.key.
    #[arg(long, value_name = "FILE", env = "CASEMATE_CLIENT")]
    client: PathBuf,
}

/// What became of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It runs the image, committed.
    Updated,
    /// It did before.
    Already,
}

impl Done {
    const fn word(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Already => "already",
        }
    }
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The image is not what the bundle lists, before anything is sent; what a box refused; a box that
    /// did not come back, or came back with the image of before.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let bundle = reach::signed(&site)?;
        let image = Image::read(&self.image, bundle.bundle())?;
        let hosts: Vec<String> = match &self.host {
            Some(host) => vec![host.clone()],
            None => {
                let hosts = bundle.bundle().hosts.iter().filter(|host| !host.retired);
                hosts.map(|host| host.name.to_string()).collect()
            }
        };
        let mut done = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let started = Instant::now();
            let round =
                Round { command: &self, site: &site, bundle: &bundle, image: &image, host, output };
            match round.update() {
                Ok(outcome) => done.push((host, outcome, started.elapsed().as_secs())),
                Err(failure) => {
                    let names = |hosts: &[String]| match hosts {
                        [] => "none".to_owned(),
                        some => some.join(", "),
                    };
                    if hosts.len() > 1 {
                        output.note(format_args!(
                            "{host} did not take it, so the round ends here. With the image: {}; not begun: {}. \
                             The same command goes on from here.",
                            names(&hosts[..index]),
                            names(&hosts[index + 1..]),
                        ));
                    }
                    return Err(failure);
                }
            }
        }
        let short = image.listed.pcr11.short();
        let lines: Vec<String> = done
            .iter()
            .map(|(host, outcome, seconds)| match outcome {
                Done::Updated => format!("{host}: runs image {short} and keeps it ({seconds} s)"),
                Done::Already => format!("{host}: runs image {short} already"),
            })
            .collect();
        let boxes: Vec<_> = done
            .iter()
            .map(|(host, outcome, seconds)| {
                json!({ "host": host, "outcome": outcome.word(), "seconds": seconds })
            })
            .collect();
        output.result(lines.join("\n"), &json!({ "image": image.listed.pcr11, "boxes": boxes }));
        Ok(())
    }
}

/// One box's turn.
struct Round<'a> {
    command: &'a Command,
    site: &'a Site,
    bundle: &'a Verified,
    image: &'a Image,
    host: &'a str,
    output: &'a Output,
}

impl Round<'_> {
    fn update(&self) -> Result<Done, Failure> {
        let mut listed = self.connect()?;
        let status: api::Status = listed.connection.get("/v1/status")?;
        let wanted = self.image.listed.pcr11;
        let on_trial = status.update.state == "trial";
        if status.image == wanted && !on_trial {
            return Ok(Done::Already);
        }
        if status.bundle != self.bundle.digest() {
            let newest = self.bundle.bundle().site.seq;
            return Err(Failure::refused(
                "stale-bundle",
                format!("{} has another bundle", self.host),
            )
            .expected(format_args!("bundle {newest}, the newest signed one"))
            .found(format_args!("bundle {}", status.seq))
            .next("`casemate bundle push --all`, then this again"));
        }
        // A trial that another run of this command began is waited for like an own one.
        if status.image != wanted {
            let taken = self.send(&mut listed)?;
            self.say(format_args!("ESP {} holds the image; it is started now", taken.esp));
        }
        let before = (status.image != wanted).then_some(status.tls_key);
        drop(listed);
        self.wait(before)?;
        Ok(Done::Updated)
    }

    /// A connection to the box, which is who it should be.
    fn connect(&self) -> Result<Listed, Failure> {
        let identity = Some(Identity::read(&self.command.client)?);
        let address = self.command.address.as_deref();
        let (site, bundle) = (self.site.clone(), self.bundle.clone());
        let mut listed = reach::listed(site, bundle, self.host, address, identity)?;
        listed.trust()?;
        Ok(listed)
    }

    fn send(&self, listed: &mut Listed) -> Result<api::ImageTaken, Failure> {
        let started = Instant::now();
        loop {
            let sent = listed.connection.put_image(
                &self.image.esp,
                &self.image.listed.esp,
                self.progress(),
            );
            match sent {
                Err(failure)
                    if failure.code() == Code::UpdateInProgress.slug()
                        && started.elapsed() < BUSY =>
                {
                    self.say("its other ESP is busy; waiting");
                    thread::sleep(AGAIN);
                }
                other => return other,
            }
        }
    }

    /// Says so at every quarter.
    fn progress(&self) -> Option<Progress> {
        if !self.output.speaks() {
            return None;
        }
        let (host, all, mut said) = (self.host.to_owned(), self.image.esp.len(), 0);
        let output = *self.output;
        Some(Box::new(move |sent| {
            let quarter = sent * 4 / all;
            if quarter > said {
                said = quarter;
                output.note(format_args!("{host}: {} % of {} MiB sent", quarter * 25, all >> 20));
            }
        }))
    }

    fn say(&self, text: impl std::fmt::Display) {
        self.output.note(format_args!("{}: {text}", self.host));
    }
}
