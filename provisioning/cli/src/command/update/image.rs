//! The image that is to be sent: an ESP, and what its manifest says of it, checked against the bundle
//! before any box hears of it.

use std::{fs, path::Path};

use casemate_formats::{
    bundle::{Bundle, body},
    code::Code,
    digest::Digest,
    efi::partition::ESP_BYTES,
    manifest::Manifest,
};
use hyper::body::Bytes;

use crate::output::Failure;

/// Names of `cargo image sign`'s products.
const MANIFEST: &str = "manifest.json";
const ESP: &str = "esp.img";

/// An image that the newest signed bundle lists.
pub struct Image {
    /// As the bundle lists it.
    pub listed: body::Image,
    /// The whole ESP.
    pub esp: Bytes,
}

impl Image {
    /// Reads a folder of `cargo image sign`, or an ESP alone.
    ///
    /// # Errors
    /// It is none, is not what its manifest says, or the bundle does not list it.
    pub fn read(path: &Path, bundle: &Bundle) -> Result<Self, Failure> {
        let folder = path.is_dir();
        let file = if folder { path.join(ESP) } else { path.to_owned() };
        let length = fs::metadata(&file).map_err(|error| Failure::file(&file, &error))?.len();
        if length != ESP_BYTES {
            return Err(Failure::from(Code::ImageLength).expected(ESP_BYTES).found(length));
        }
        let esp = fs::read(&file).map_err(|error| Failure::file(&file, &error))?;
        let found = Digest::sha256(&esp);
        if folder {
            agree(&path.join(MANIFEST), &found)?;
        }
        let listed = bundle.images.iter().find(|image| image.esp == found).cloned();
        let listed = listed.ok_or_else(|| {
            let known: Vec<String> = bundle.images.iter().map(|image| image.esp.short()).collect();
            Failure::from(Code::ImageUnlisted)
                .expected(format_args!("an ESP of sha256 {}", known.join(", or ")))
                .found(found.short())
        })?;
        Ok(Self { listed, esp: esp.into() })
    }
}

/// The manifest is of this ESP.
fn agree(path: &Path, found: &Digest) -> Result<(), Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let manifest = Manifest::parse(&text).map_err(|error| {
        Failure::refused("manifest", format!("{}: {error}", path.display()))
            .next("take the manifest.json that the image's build wrote")
    })?;
    let Some(image) = manifest.image() else {
        return Err(Failure::refused("image-not-signed", "the image is not signed yet")
            .next("`cargo image sign` with the site's db key"));
    };
    if image.esp == *found {
        return Ok(());
    }
    Err(Failure::from(Code::ImageAltered)
        .expected(format_args!("an ESP of sha256 {}, as {} says", image.esp, path.display()))
        .found(found)
        .next("sign the image again, or take manifest and ESP of one build"))
}
