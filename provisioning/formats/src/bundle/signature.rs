//! Who signed a bundle: SSH signatures by at least m distinct signers of the anchors. The one way to
//! a [`Verified`], and so to a bundle that a box believes.

use std::{collections::BTreeSet, vec::Vec};

use crate::{
    anchors::Anchors,
    bundle::{Bundle, Envelope, error::BundleError, sshsig::Sshsig, wire},
    digest::Digest,
};

/// The SSHSIG namespace: `ssh-keygen -Y sign -n casemate.bundle.v1`.
pub const NAMESPACE: &str = "casemate.bundle.v1";

/// A bundle whose signatures, namespace and tables were checked. Only verification makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    bundle: Bundle,
    digest: Digest,
    envelope: Vec<u8>,
}

impl Verified {
    /// Verifies a bundle as it came, in the order size, envelope, signatures, version, sections,
    /// tables, namespace: nothing of the body is looked at before its signers are known.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(bytes: &[u8], anchors: &Anchors) -> Result<Self, BundleError> {
        let Envelope { body, signatures } = Envelope::parse(bytes)?;
        let tally = Tally::count(&body, &signatures, anchors);
        // A threshold of zero cannot come out of `Anchors`; it must not open anything if it does.
        if tally.signers.len() < usize::from(anchors.threshold.max(1)) {
            return Err(BundleError::TooFewSignatures {
                needed: anchors.threshold,
                valid: tally.signers.len(),
                unknown: tally.unknown,
                invalid: tally.invalid,
                repeated: tally.repeated,
            });
        }
        let bundle = Bundle::decode(&body)?;
        if bundle.site.namespace != anchors.namespace {
            return Err(BundleError::ForeignNamespace);
        }
        Ok(Self { bundle, digest: wire::body_digest(&body), envelope: bytes.to_vec() })
    }

    /// What it says.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Tagged SHA-256 of version and body, never of signatures: `tagged("bundle", [body])`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The envelope's bytes, as `GET /v1/bundle` gives them back.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

/// What the signatures of an envelope amount to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Positions in the anchors of the signers whose signature holds.
    pub signers: BTreeSet<usize>,
    /// Signatures by keys that the anchors do not list; ignored.
    pub unknown: usize,
    /// Signatures that do not parse or do not hold.
    pub invalid: usize,
    /// Signatures by a signer who was counted already.
    pub repeated: usize,
}

impl Tally {
    /// Counts the signatures over `body`.
    #[must_use]
    pub fn count(body: &[u8], signatures: &[Vec<u8>], anchors: &Anchors) -> Self {
        let mut tally = Self::default();
        for blob in signatures {
            let Ok(signature) = Sshsig::parse(blob) else {
                tally.invalid += 1;
                continue;
            };
            let listed = anchors.signers.iter().position(|key| key == signature.public_key());
            match listed {
                None => tally.unknown += 1,
                Some(_) if signature.verify(NAMESPACE, body).is_err() => tally.invalid += 1,
                Some(signer) if !tally.signers.insert(signer) => tally.repeated += 1,
                Some(_) => {}
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests;
