//! Waiting for a box that starts another image: until it has committed it, or came back with the one of
//! before, or does not come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use casemate_formats::{
    api::{Health, Status},
    digest::Digest,
};

use super::Round;
use crate::output::Failure;

/// A start with the trial's ten minutes, and the way back: after that a box is lost.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is said that nothing has changed.
const STILL: Duration = Duration::from_secs(30);

/// How a box stands after it was told to start another image.
enum Seen {
    /// It does not answer, has not gone down yet, or does not serve yet.
    Waiting,
    /// It keeps nothing: its root has to be brought in while the trial lasts.
    NeedsRoot,
    /// It serves from the image, committed.
    Done,
}

impl Round<'_> {
    /// Waits. `before`: the TLS key of the boot that took the image, where that was this run's.
    pub(super) fn wait(&self, before: Option<Digest>) -> Result<(), Failure> {
        let started = Instant::now();
        let (mut said, mut told) = (started, false);
        while started.elapsed() < PATIENCE {
            match self.look(before)? {
                Seen::Done => return Ok(()),
                Seen::NeedsRoot if !told => {
                    told = true;
                    self.say(
                        "it keeps nothing: forward the root, or bring k shares, within ten minutes",
                    );
                }
                Seen::NeedsRoot | Seen::Waiting => {}
            }
            if said.elapsed() >= STILL {
                said = Instant::now();
                self.say(format_args!("not back yet ({} s)", started.elapsed().as_secs()));
            }
            thread::sleep(LOOK);
        }
        let minutes = PATIENCE.as_secs() / 60;
        Err(Failure::refused("not-back", format!("{} did not come back", self.host))
            .expected(format_args!("an answer within {minutes} minutes"))
            .next(
                "look at its console; switched off and on it starts the image of before, unless it has \
                 committed the new one. Then run this again",
            ))
    }

    fn look(&self, before: Option<Digest>) -> Result<Seen, Failure> {
        // Nothing that goes wrong on the way is the box's last word: it starts, or has no network yet.
        let Ok(mut listed) = self.connect() else { return Ok(Seen::Waiting) };
        // A client that it knows, and that is answered: this is what commits the image.
        let Ok(status) = listed.connection.get::<Status>("/v1/status") else {
            return Ok(Seen::Waiting);
        };
        if before == Some(status.tls_key) {
            return Ok(Seen::Waiting);
        }
        if status.image != self.image.listed.pcr11 {
            return Err(Failure::refused(
                "fell-back",
                format!("{} came back with the image of before", self.host),
            )
            .expected(format_args!("image {}", self.image.listed.pcr11.short()))
            .found(format_args!("image {}, {}", status.image.short(), status.phase))
            .next("its console says why the new one did not stay; it serves from the old one"));
        }
        if status.reason.as_deref() == Some("not-sealed") {
            return Ok(Seen::NeedsRoot);
        }
        let ready = listed.connection.get::<Health>("/readyz").is_ok_and(|health| health.ready);
        let committed = status.update.state != "trial";
        Ok(if ready && committed { Seen::Done } else { Seen::Waiting })
    }
}
