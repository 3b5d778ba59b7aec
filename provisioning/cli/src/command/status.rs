//! `casemate status`: phase, bundle, image and audit log of a box, as it says itself over a trusted
//! connection.

use casemate_formats::api::{Health, Status};

use crate::{
    output::{Failure, Output},
    reach::{self, Reach},
};

/// Arguments of `casemate status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate status --site site --host alpha\n  \
    casemate status --site site --host alpha --client ~/.config/casemate/ops --json")]
pub struct Command {
    #[command(flatten)]
    reach: Reach,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// No connection, or a box that is not the listed one.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut listed = self.reach.listed()?;
        let newest = (listed.bundle.bundle().site.seq, listed.bundle.digest());
        if self.reach.client.is_some() {
            listed.trust()?;
            let status: Status = listed.connection.get("/v1/status")?;
            let stale = status.bundle != newest.1;
            output.result(long(&status, stale.then_some(newest.0)), &status);
            return Ok(());
        }
        let attested = listed.attest()?;
        let health: Health = health(&mut listed)?;
        let claims = &attested.claims;
        let bundle = if claims.bundle == newest.1 {
            format!("{} (newest)", newest.0)
        } else {
            crate::attest::or_none(&claims.bundle)
        };
        let text = format!(
            "{} is {}{}\nbundle     {bundle}\nimage      {}\nfor more, give --client",
            self.reach.host,
            health.phase,
            reasons(&health.reasons),
            claims.image,
        );
        output.result(text, &serde_json::json!({ "health": health, "claims": claims }));
        Ok(())
    }
}

/// `/readyz` answers 503 with the same body when the box is not ready.
fn health(listed: &mut reach::Listed) -> Result<Health, Failure> {
    listed.connection.get("/livez")
}

fn reasons(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

fn long(status: &Status, newest: Option<u64>) -> String {
    let reason = status.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let behind = newest.map(|seq| format!(" (the newest signed one is {seq}: push it)"));
    let log = &status.audit;
    let alarm = match (log.available, log.rolled_back, log.warning) {
        (false, _, _) => ", NOT AVAILABLE",
        (true, true, _) => ", ROLLED BACK",
        (true, false, true) => ", filling up",
        (true, false, false) => "",
    };
    format!(
        "{} of {} is {}{reason}\n\
         bundle     {}{}\n\
         image      {}\n\
         version    {}\n\
         audit log  {}, {} closed blocks, {} records since boot, {}.{} % to be collected{alarm}",
        status.host.as_deref().unwrap_or("a box that is not listed"),
        status.namespace,
        status.phase,
        status.seq,
        behind.unwrap_or_default(),
        status.image,
        status.version,
        log.origin.as_deref().unwrap_or("none"),
        log.size,
        log.records,
        log.fill / 10,
        log.fill % 10,
    )
}
