//! `site.toml`: what goes into the image and so into PCR 11. Changing it means a new image.

use serde::Deserialize;

use super::Finding;
use crate::{
    bundle::{armor::parse_public_key, body::Label},
    code::Code,
    limits,
};

/// `site.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSource {
    /// The site's namespace.
    pub namespace: String,
    /// How many distinct signers a bundle needs.
    pub threshold: u8,
    /// SSH public keys, as in `id_ed25519.pub`.
    pub signers: Vec<String>,
}

/// What the anchors hold of it; the Secure Boot variables come beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    /// The site's namespace.
    pub namespace: Label,
    /// How many distinct signers a bundle needs.
    pub threshold: u8,
    /// SSH public key blobs.
    pub signers: heapless::Vec<Vec<u8>, { limits::SIGNERS }>,
}

impl SiteSource {
    /// Reads `site.toml`.
    ///
    /// # Errors
    /// Line, column and what was expected.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Checks names, keys and threshold.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compile(&self) -> Result<Signers, Vec<Finding>> {
        const PLACE: &str = "site.toml";
        let mut findings = Vec::new();
        let namespace = Label::parse(&self.namespace);
        if namespace.is_none() {
            let expected =
                "a name of a-z, 0-9 and -, starting with a letter, at most 32 characters";
            let next = "choose one that stays: it is part of every key and audit record";
            findings.push(Finding::new(
                Code::OutOfRange,
                format!("{PLACE}: namespace"),
                expected,
                format!("{:?}", self.namespace),
                next,
            ));
        }
        let mut signers = heapless::Vec::new();
        for line in &self.signers {
            let place = format!("{PLACE}: signers");
            match parse_public_key(line) {
                Ok(blob) if signers.contains(&blob) => findings.push(Finding::new(
                    Code::Duplicate,
                    place,
                    "every signer once",
                    line,
                    "remove one of the two lines",
                )),
                Ok(blob) => {
                    if signers.push(blob).is_err() {
                        findings.push(Finding::new(
                            Code::TableTooLarge,
                            place,
                            "at most 16 signers",
                            self.signers.len(),
                            "list those who sign",
                        ));
                        break;
                    }
                }
                Err(error) => findings.push(Finding::new(
                    Code::OutOfRange,
                    place,
                    "the line of an SSH public key file (Ed25519 or ECDSA P-256, sk forms included)",
                    format!("{line:?} ({error})"),
                    "`ssh-keygen -t ed25519` makes one",
                )),
            }
        }
        if findings.is_empty()
            && (self.threshold == 0 || usize::from(self.threshold) > signers.len())
        {
            findings.push(Finding::new(
                Code::OutOfRange,
                format!("{PLACE}: threshold"),
                format!("1 to {} (the number of signers)", signers.len()),
                self.threshold,
                "m signers together equal the root: choose at least 2 where there are 2",
            ));
        }
        match namespace {
            Some(namespace) if findings.is_empty() => {
                Ok(Signers { namespace, threshold: self.threshold, signers })
            }
            _ => Err(findings),
        }
    }
}
