//! Anchors: the one thing an image trusts before it has seen a bundle. `/anchors` of the initramfs.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::{bundle::body::Label, limits};

/// Namespace, bundle signers and their threshold, and the site's Secure Boot variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    /// The site's namespace.
    pub namespace: Label,
    /// How many distinct signers a bundle needs.
    pub threshold: u8,
    /// SSH public key blobs (RFC 4253 section 6.6), binary.
    pub signers: Vec<std::vec::Vec<u8>, { limits::SIGNERS }>,
    /// Signed update of PK, as `SetVariable` with time-based authentication takes it.
    pub pk: std::vec::Vec<u8>,
    /// Signed update of KEK.
    pub kek: std::vec::Vec<u8>,
    /// Signed update of db.
    pub db: std::vec::Vec<u8>,
}
