//! `casemate host refresh`: a listed box after a firmware update. Its keys must be the pinned ones; what
//! its firmware measured otherwise is told in words, and a person decides.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_formats::{
    anchors::Anchors,
    code::Code,
    digest::Digest,
    efi::{
        signer::certificate_from_pem,
        variable::{OWNER, Update},
    },
    request::{
        eventlog::EventLog,
        firmware::{SecureBoot, pcr7_with_db},
        verify::{Known, Refusal},
    },
};

use super::{Which, record::with_state};
use crate::{
    attest::{self, Terms},
    command::bundle::build,
    event_words,
    output::{Failure, Output},
    reach,
    site::{Site, Written},
};

/// Arguments of `casemate host refresh`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate host refresh alpha --site site\n  \
    casemate host refresh alpha --site site --drop-old\n  \
    casemate host refresh alpha --site site --signed-by site/secure-boot/db-2.crt\n\n\
    Then sign the bundle, push it, and bring the root back: `casemate forward`, or k shares.")]
pub struct Command {
    #[command(flatten)]
    which: Which,
    /// Where it is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    address: Option<String>,
    /// List only the PCR 7 that the box has now: the old firmware is not put back.
    #[arg(long)]
    drop_old: bool,
    /// List the PCR 7 of the first image by another key of the site's db, too: its certificate.
    #[arg(long, value_name = "FILE.crt")]
    signed_by: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The box is another one, or Secure Boot is not as it should be, by name; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let Which { name, site, yes } = self.which;
        let site = Site::open(&site)?;
        let bundle = reach::signed(&site)?;
        let address = self.address.as_deref();
        let mut listed = reach::listed(site, bundle, &name, address, None)?;
        let (name, old) = listed.site.host(&name)?;
        if (&old.ek, &old.ak) != (&listed.host.ek, &listed.host.ak) {
            return Err(Failure::from(Code::HostMismatch)
                .expected(listed.host.ek.fingerprint().short())
                .found(old.ek.fingerprint().short())
                .next("hosts/NAME.toml names another board than the signed bundle: sign and push first"));
        }
        let (anchors, images) = (listed.site.anchors()?, listed.site.images()?);
        let terms =
            Terms { anchors: &anchors, images: &images, host: Known::Changed(&listed.host) };
        let (request, attested) = attest::verified(&mut listed.connection, terms, None)?;
        let mut record = with_state(&old, &attested);
        if self.drop_old {
            record.pcr7 = vec![attested.pcr7()];
            record.boot_applications.retain(|app| attested.other_applications.contains(app));
        }
        let upcoming = upcoming(&anchors, &request.event_log, self.signed_by.as_deref())?;
        if let Some(upcoming) = upcoming {
            // Of two there is room for: what is, and what will be.
            record.pcr7.retain(|value| *value == attested.pcr7());
            record.pcr7.push(upcoming);
        }
        let before = listed.site.event_log(&name, &old)?;
        let mut lines = event_words::difference(before.as_deref(), &request.event_log)?;
        let list = |values: &[Digest]| {
            values.iter().map(Digest::short).collect::<Vec<_>>().join("\n           ")
        };
        lines.push(format!("PCR 7 now  {}", attested.pcr7().short()));
        if let Some(upcoming) = upcoming {
            lines.push(format!("PCR 7 next {}: with the site's newest db", upcoming.short()));
        }
        lines.push(format!("listed     {}", list(&old.pcr7)));
        lines.push(format!("to list    {}", list(&record.pcr7)));
        for gone in old.pcr7.iter().filter(|value| !record.pcr7.contains(value)) {
            lines
                .push(format!("dropped    {}: that firmware opens nothing any more", gone.short()));
        }
        let text = format!("{name}: the listed board\n{}", lines.join("\n"));
        let changed = record != old;
        if changed && !yes {
            output.note(&text);
            output.confirm("Is this the change that was made to its firmware?")?;
        }
        let written = listed.site.write_host(&name, &record)?;
        // From now on this is what differences are told from.
        listed.site.write_event_log(&name, &request.event_log)?;
        let (next, bundle) = match written {
            Written::Same => ("nothing was changed".to_owned(), serde_json::Value::Null),
            Written::New | Written::Changed => build::after_change(&listed.site, output),
        };
        output.result(
            format_args!("{text}\n{written} hosts/{name}.toml\n{next}"),
            &serde_json::json!({
                "host": name, "written": written, "pcr7": attested.pcr7(), "listed": record.pcr7,
                "upcoming": upcoming,
                "difference": lines, "other_applications": attested.other_applications,
                "phase": attested.claims.phase, "bundle": bundle,
            }),
        );
        Ok(())
    }
}

/// PCR 7 at the starts to come, where that is known to become another one: db is on its way to the
/// site's newest, or the next image is signed by another key of it. The log was verified.
fn upcoming(
    anchors: &Anchors,
    event_log: &[u8],
    signed_by: Option<&Path>,
) -> Result<Option<Digest>, Failure> {
    let unfit = |error: String| Failure::refused("secure-boot-key", error);
    let log = EventLog::parse(event_log).map_err(Refusal::from)?;
    let state = SecureBoot::read(&log).map_err(Refusal::from)?;
    let list = Update::parse(&anchors.db).map_err(|error| unfit(error.to_string()))?.list;
    let authority = match signed_by {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            let der = certificate_from_pem(&text).map_err(|error| unfit(error.to_string()))?;
            Some([&OWNER.0, &der[..]].concat())
        }
    };
    if state.db == list && authority.is_none() {
        return Ok(None);
    }
    let pcr7 = pcr7_with_db(&log, list, authority.as_deref());
    Ok(pcr7.map(Some).map_err(Refusal::from)?)
}
