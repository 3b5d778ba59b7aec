//! The file and message form of a bundle: magic, body, signatures.

use std::vec::Vec;

/// A bundle as it travels: not yet verified. Made only by [`Envelope::parse`] within
/// [`crate::limits::BUNDLE_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Format version and sections: what is signed.
    pub body: Vec<u8>,
    /// SSHSIG blobs, binary (OpenSSH PROTOCOL.sshsig).
    pub signatures: Vec<Vec<u8>>,
}
