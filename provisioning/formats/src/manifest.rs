//! The manifest of an image (`manifest.json`): hashes, PCR 11, versions. `bundle` takes images from
//! it, auditors compare it, `image sign` completes it.

use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{bundle::body, digest::Digest};

/// The one format version.
pub const FORMAT: u16 = 1;

/// What was built, from what, and what it will measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u16,
    /// Version of Casemate.
    pub version: String,
    /// The site's namespace, from the anchors.
    pub namespace: String,
    /// SHA-256 of `/anchors`.
    pub anchors: Digest,
    /// PCR 11 (SHA-256) after `enter-casemate`.
    pub pcr11: Digest,
    /// Authenticode SHA-256 of the UKI, the same before and after signing.
    pub authenticode: Digest,
    /// The unsigned UKI.
    pub unsigned: File,
    /// What the db key made of it; none before `image sign`.
    pub signed: Option<Signed>,
    /// The UKI's sections, in file order.
    pub sections: Vec<Section>,
    /// What it was built from, by ascending name.
    pub sources: Vec<Source>,
    /// Host packages and tools that built it, by ascending name.
    pub packages: Vec<Package>,
    /// What was built from the sources on the way, by ascending name: whoever gets another image can
    /// tell where the two builds part. Images of before this field have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<Product>,
}

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Bytes.
    pub bytes: u64,
    /// Plain SHA-256.
    pub sha256: Digest,
}

/// Products of `image sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The signed UKI.
    pub uki: File,
    /// The whole ESP that holds it; both ESPs of a disk are this.
    pub esp: File,
    /// SHA-256 of the db certificate (DER) that it was signed with.
    pub certificate: Digest,
}

/// A section that the manifest's reader can find in the UKI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// With its dot.
    pub name: String,
    /// Bytes (the section's `VirtualSize`).
    pub bytes: u64,
    /// Plain SHA-256.
    pub sha256: Digest,
}

/// A source package that the lock names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The lock's name for it.
    pub name: String,
    /// The archive's version of it.
    pub version: String,
    /// SHA-256 of what was fetched.
    pub sha256: Digest,
    /// False when the archive no longer had the locked version and the newest of its series was taken.
    pub locked: bool,
}

/// A package or tool of the host that took part in the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Something built from a source and then built into the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The source's name; `casemate` for `/init`.
    pub name: String,
    /// Hash of all that it was made of: source, patches, configuration, flags, compiler. Of `casemate`
    /// the SHA-256 of `Cargo.lock`.
    pub recipe: String,
    /// Its files, by ascending name.
    pub files: Vec<ProductFile>,
}

/// A file of a [`Product`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Plain SHA-256.
    pub sha256: Digest,
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this form.
    #[error("the manifest is not one: {0}")]
    Json(#[from] serde_json::Error),
    /// A format that this version does not know.
    #[error("unknown-version: manifest of format {0}, expected {FORMAT}")]
    UnknownVersion(u16),
}

impl Manifest {
    /// Parses `manifest.json`; unknown fields are refused.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        /// The one field that tells whether the others can be read.
        #[derive(Deserialize)]
        struct Format {
            format: u16,
        }
        match serde_json::from_str::<Format>(json)?.format {
            FORMAT => Ok(serde_json::from_str(json)?),
            other => Err(ManifestError::UnknownVersion(other)),
        }
    }

    /// The text of `manifest.json`: indented, fields in their fixed order, one newline at the end.
    ///
    /// # Panics
    /// Never: every value of this type has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has a JSON form");
        text.push('\n');
        text
    }

    /// What a bundle lists; `None` before the image is signed.
    #[must_use]
    pub fn image(&self) -> Option<body::Image> {
        let esp = self.signed.as_ref()?.esp.sha256;
        Some(body::Image { pcr11: self.pcr11, esp, authenticode: self.authenticode })
    }
}

#[cfg(test)]
mod tests;
