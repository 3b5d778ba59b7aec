//! `casemate site new-db`: another key that images are signed with. Machines learn of its certificate by
//! an image that holds it; what that makes of their PCR 7 is known beforehand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_formats::{
    bundle::body::Label,
    digest::Digest,
    efi::variable::{self, Update, Variable},
    request::{eventlog::EventLog, firmware::pcr7_with_db, verify::Refusal},
};

use super::{
    init,
    secure_boot::{signer, unfit},
};
use crate::{
    command::bundle::build,
    custody::review::anchors_digest,
    output::{Failure, Output},
    site::{Site, write},
};

/// Makes a new db key and certificate, and the signed variable that holds it beside the former ones
/// (with --drop-former: alone). The former key is kept aside. The anchors change, so an image with the new
/// ones is built; boxes take the certificate over from it. The PCR 7 that each box will then have is
/// computed from its event log and listed beside the present one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate site new-db --site site\n  \
    casemate site new-db --site site --drop-former    (the former key is lost)\n\n\
    It needs private/KEK.key for a moment. Then build an image with the new anchors; as long as machines\n\
    have only the former certificate, sign it with the former key.")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Only the new certificate: machines take it in set-up mode alone.
    #[arg(long)]
    drop_former: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// KEK's key is not here; a file cannot be written.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let former = fs::read(site.path("secure-boot/db.auth"))
            .map_err(|error| Failure::file(&site.path("secure-boot/db.auth"), &error))?;
        let former = Update::parse(&former)
            .and_then(|update| update.certificates())
            .map_err(|error| Failure::refused("secure-boot-key", error.to_string()))?;
        // Asked for first: without it nothing is changed.
        let mut written = Vec::new();
        let kek = signer(&self.site, Variable::Kek, &mut written)?;
        let aside = set_aside(&site, former.last().map(|(_, der)| *der))?;
        let db = signer(&self.site, Variable::Db, &mut written)?;
        let mut certificates: Vec<&[u8]> = Vec::new();
        if !self.drop_former {
            certificates.extend(former.iter().map(|(_, der)| *der));
        }
        certificates.push(db.certificate());
        let signed = variable::sign(Variable::Db, init::now()?, &certificates, &kek)
            .map_err(|error| unfit("KEK", &error))?;
        write(&site.path("secure-boot/db.auth"), &signed)?;
        let (anchors, _) = init::write_anchors(&self.site)?;
        let listed = if self.drop_former { Vec::new() } else { list_next(&site, &signed)? };
        let (next, bundle) = build::after_change(&site, output);
        let digest = anchors_digest(&anchors)?;
        let mut text = format!(
            "new db key and certificate; {} in the variable\nanchors {}\n",
            certificates.len(),
            digest.grouped()
        );
        for path in &aside {
            text += &format!("the former one is {} now\n", path.display());
        }
        for (name, pcr7) in &listed {
            text += &match pcr7 {
                Some(pcr7) => format!(
                    "{name} may also boot with PCR 7 {}, which follows from it\n",
                    pcr7.short()
                ),
                None => format!(
                    "{name}: no event log of its listed PCR 7 is kept; `casemate host refresh {name}` \
                     lists what follows\n"
                ),
            };
        }
        output.result(
            text + &next,
            &serde_json::json!({
                "anchors": digest, "certificates": certificates.len(), "aside": aside,
                "listed": listed.iter().map(|(name, pcr7)| serde_json::json!({
                    "host": name, "pcr7": pcr7,
                })).collect::<Vec<_>>(),
                "bundle": bundle,
            }),
        );
        Ok(())
    }
}

/// The former key and certificate under names of their own; none is lost.
fn set_aside(site: &Site, certificate: Option<&[u8]>) -> Result<Vec<PathBuf>, Failure> {
    let id = certificate.map_or(Digest::ZERO, Digest::sha256).to_string();
    let mut aside = Vec::new();
    for (folder, ending) in [("private", "key"), ("secure-boot", "crt")] {
        let path = site.path(format!("{folder}/db.{ending}"));
        let kept = site.path(format!("{folder}/db-{}.{ending}", &id[..16]));
        if path.exists() {
            rename(&path, &kept)?;
            aside.push(kept);
        }
    }
    Ok(aside)
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| Failure::file(from, &error))
}

/// The PCR 7 that each box will have once its db is the new one, beside the one that it has; none where
/// that cannot be known here.
fn list_next(site: &Site, update: &[u8]) -> Result<Vec<(Label, Option<Digest>)>, Failure> {
    let list = Update::parse(update)
        .map_err(|error| Failure::refused("secure-boot-key", error.to_string()))?
        .list;
    let mut listed = Vec::new();
    for (name, mut record) in site.hosts()? {
        let Some(bytes) = site.event_log(&name, &record)? else {
            listed.push((name, None));
            continue;
        };
        let log = EventLog::parse(&bytes).map_err(Refusal::from)?;
        let now = log.replay()[7];
        let next = pcr7_with_db(&log, list, None).map_err(Refusal::from)?;
        record.pcr7 = vec![now, next];
        record.pcr7.dedup();
        site.write_host(&name, &record)?;
        listed.push((name, Some(next)));
    }
    Ok(listed)
}
