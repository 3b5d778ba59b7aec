//! `casemate host add`: a box that was verified becomes one of the site.

use std::path::PathBuf;

use casemate_formats::request::verify::{Fingerprint, Known};

use super::record::{Change, describe, record};
use crate::{
    attest::{self, Terms},
    command::bundle::build,
    output::{Failure, Output},
    reach,
    site::{Site, Written},
};

/// Arguments of `casemate host add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate host add alpha --site site --address 10.0.0.7 \\\n    \
    --ek '3f2a 90c1 77de 0b12 4410 9a3e 5c61 d0f8'\n  \
    casemate host add alpha --address 10.0.0.7 --ek 3f2a90c177de0b1244109a3e5c61d0f8 --replace\n\n\
    Then sign the bundle and push it. For a fixed address complete hosts/NAME.toml before, and run\n\
    `casemate bundle build` again.")]
pub struct Command {
    /// Its name within the site.
    name: String,
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Where it is reached now.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    address: String,
    /// Fingerprint of its endorsement key, as its console shows it.
    #[arg(long, value_name = "FINGERPRINT")]
    ek: String,
    /// It is a new board in the place of the one that has this name now.
    #[arg(long)]
    replace: bool,
    /// Do not ask before the record is written.
    #[arg(long)]
    yes: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The box does not pass, by name; another one has this name; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let name = super::label(&self.name)?;
        let fingerprint = Fingerprint::parse(&self.ek).ok_or_else(|| {
            Failure::environment("ek-fingerprint", "this is no fingerprint")
                .expected("at least the eight groups of four hex digits that the console shows")
                .found(&self.ek)
        })?;
        let site = Site::open(&self.site)?;
        let (anchors, images) = (site.anchors()?, site.images()?);
        if images.is_empty() {
            return Err(Failure::refused("no-image", "the site lists no image yet")
                .expected("the image that the box runs, in images.toml")
                .next("`casemate bundle add-image MANIFEST` lists one"));
        }
        let known = site.hosts()?;
        let mut connection = reach::stranger(&self.address)?;
        let terms = Terms { anchors: &anchors, images: &images, host: Known::New(&fingerprint) };
        let (request, first) = attest::verified(&mut connection, terms, None)?;
        let attested = attest::challenge(&mut connection, &first, terms)?;
        let (ek, ..) = attested.identity();
        if let Some((other, _)) = known.iter().find(|(n, record)| **n != name && record.ek == ek) {
            return Err(Failure::refused("host-exists", "this box is listed under another name")
                .expected(&name)
                .found(other)
                .next("use that name; a box has one host record"));
        }
        let old = known.get(&name);
        let arrived = site.bundle_source()?.expected.into_iter().find(|b| b.name == self.name);
        let place = (connection.address(), arrived.map(|b| b.network).unwrap_or_default());
        let (record, change) = record(old, &attested, place, self.replace)?;
        let shown = describe(&name, &attested, &record, change);
        if change != Change::None && !self.yes {
            output.note(&shown);
            output.confirm("List this box?")?;
        }
        // The log first: a record without its log is one whose next firmware update cannot be explained.
        site.write_event_log(&name, &request.event_log)?;
        let written = site.write_host(&name, &record)?;
        let (next, bundle) = match written {
            Written::Same => ("nothing was changed".to_owned(), serde_json::Value::Null),
            Written::New | Written::Changed => build::after_change(&site, output),
        };
        output.result(
            format_args!("{shown}\n{written} hosts/{name}.toml\n{next}"),
            &serde_json::json!({
                "host": name, "file": site.path(format!("hosts/{name}.toml")), "written": written,
                "record": record, "phase": attested.claims.phase,
                "other_applications": attested.other_applications, "bundle": bundle,
            }),
        );
        Ok(())
    }
}
