//! Who signed a bundle: SSH signatures by at least m distinct signers of the anchors.

use crate::{bundle::Bundle, digest::Digest};

/// A bundle whose signatures, namespace and tables were checked. Only verification makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    bundle: Bundle,
    digest: Digest,
    envelope: std::vec::Vec<u8>,
}

impl Verified {
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
