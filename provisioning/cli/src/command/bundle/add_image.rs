//! `casemate bundle add-image`: lists an image from its manifest.

use std::path::PathBuf;

use casemate_formats::{
    bundle::source::ImageRecord, code::Code, digest::Digest, limits, manifest::Manifest,
};

use crate::{
    output::{Failure, Output},
    site::{Site, Written, template, write},
};

/// Arguments of `casemate bundle add-image`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  casemate bundle add-image --site site target/image/manifest.json"
)]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// The image's manifest.json, of a signed image.
    manifest: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The image is not signed, is of another site or other anchors, or four are listed already.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let text = std::fs::read_to_string(&self.manifest)
            .map_err(|error| Failure::file(&self.manifest, &error))?;
        let manifest = Manifest::parse(&text).map_err(|error| {
            Failure::refused("manifest", format!("{}: {error}", self.manifest.display()))
                .next("take the manifest.json that the image's build wrote")
        })?;
        let anchors = site.anchors()?.encode().map(|bytes| Digest::sha256(&bytes));
        let anchors = anchors.map_err(|error| Failure::refused("anchors", error.to_string()))?;
        if manifest.anchors != anchors {
            return Err(Failure::refused("foreign-anchors", "the image holds other anchors")
                .expected(format_args!("anchors {anchors}"))
                .found(format_args!(
                    "anchors {} (namespace {})",
                    manifest.anchors, manifest.namespace
                ))
                .next("build it with this site's anchors file"));
        }
        let Some(signed) = &manifest.signed else {
            return Err(Failure::refused("image-not-signed", "the image is not signed yet")
                .expected("a manifest that `image sign` has completed")
                .next("sign it with the site's db key"));
        };
        let record = ImageRecord {
            version: manifest.version,
            pcr11: manifest.pcr11,
            esp: signed.esp.sha256,
            authenticode: manifest.authenticode,
        };
        let written = list(&site, &record)?;
        let (next, bundle) = match written {
            Written::Same => ("nothing was changed".to_owned(), serde_json::Value::Null),
            Written::New | Written::Changed => super::build::after_change(&site, output),
        };
        output.result(
            format_args!(
                "{written} {}: image {}\n{next}",
                site.path("images.toml").display(),
                record.pcr11.short()
            ),
            &serde_json::json!({ "image": record, "written": written, "bundle": bundle }),
        );
        Ok(())
    }
}

/// Appends the record; the rest of the file stays as people left it.
fn list(site: &Site, record: &ImageRecord) -> Result<Written, Failure> {
    let images = site.images_source()?.image;
    if images.contains(record) {
        return Ok(Written::Same);
    }
    if let Some(other) = images.iter().find(|image| image.pcr11 == record.pcr11) {
        return Err(Failure::refused(
            Code::Duplicate.slug(),
            "this image is listed with another ESP",
        )
        .expected(other.esp)
        .found(record.esp)
        .next("remove the old entry from images.toml if its ESP is used no more"));
    }
    if images.len() >= limits::IMAGES {
        return Err(Failure::refused(Code::TableTooLarge.slug(), "no room for another image")
            .expected(format_args!("at most {}", limits::IMAGES))
            .found(images.len() + 1)
            .next("remove an image from images.toml that no box runs any more"));
    }
    let path = site.path("images.toml");
    let old = if path.exists() {
        std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?
    } else {
        template::IMAGES.to_owned()
    };
    let ImageRecord { version, pcr11, esp, authenticode } = record;
    let text = format!(
        "{}\n\n[[image]]\nversion = {version:?}\npcr11 = \"{pcr11}\"\nesp = \"{esp}\"\n\
         authenticode = \"{authenticode}\"\n",
        old.trim_end()
    );
    write(&path, text.as_bytes())
}
