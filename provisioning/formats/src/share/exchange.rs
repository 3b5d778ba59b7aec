//! The two files of a recovery: what ops give custodians, who may sit at machines without a network,
//! and what each of them gives back. JSON; neither holds a secret in clear.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    anchors, api,
    bundle::body::Label,
    digest::Digest,
    limits,
    request::{Request, eventlog},
    share::Message,
};

/// The one format of both.
const FORMAT: u16 = 1;
/// Bytes of JSON around the largest parts.
const AROUND: usize = 64 * 1024;
/// Bytes of a request: bundle, anchors and event log in base64, and what stands around them.
pub const MAX_REQUEST_BYTES: usize =
    (limits::BUNDLE_BYTES + anchors::MAX_BYTES + eventlog::MAX_BYTES) / 3 * 4 + AROUND;
/// Bytes of a sealed share.
pub const MAX_SEALED_BYTES: usize = AROUND;

/// Everything that a custodian has to see before a share goes to a box (`*.request`). Believed by
/// nobody until `anchors` are the custodian's own, the bundle is signed by them, and the box's answer
/// was verified against both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRequest {
    /// Version of this format: 1.
    pub format: u16,
    /// The site.
    pub namespace: Label,
    /// Which box asks, by its name in the bundle.
    pub host: Label,
    /// The anchors of the image that ops built, encoded.
    #[serde(with = "api::b64")]
    pub anchors: Vec<u8>,
    /// Envelope of the bundle in force on the box.
    #[serde(with = "api::b64")]
    pub bundle: Vec<u8>,
    /// What the box answered, with the nonce that it was asked with.
    pub request: Request,
}

/// One custodian's share, sealed to one boot of one box. Everything but `message` is public and there
/// for people: the box believes none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    /// Version of this format: 1.
    pub format: u16,
    /// The site.
    pub namespace: Label,
    /// Which box it is for.
    pub host: Label,
    /// Whose share it is.
    pub custodian: Label,
    /// Commitment to the share.
    pub commitment: Digest,
    /// What goes to the box.
    pub message: Message,
}

/// Why bytes are neither.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// More bytes than any has.
    #[error("expected at most {limit} bytes, found {found}")]
    TooLarge {
        /// Limit.
        limit: usize,
        /// Size.
        found: usize,
    },
    /// Not this JSON.
    #[error("expected one JSON object of this form, found something else at {0}")]
    Malformed(api::Malformed),
    /// A later format.
    #[error("expected format 1, found format {0}")]
    UnknownVersion(u16),
}

impl RecoveryRequest {
    /// What `host` answered under `bundle`.
    #[must_use]
    pub fn new(
        (namespace, host): (Label, Label),
        anchors: Vec<u8>,
        bundle: Vec<u8>,
        request: Request,
    ) -> Self {
        Self { format: FORMAT, namespace, host, anchors, bundle, request }
    }

    /// Reads one; nothing in it is verified.
    ///
    /// # Errors
    /// [`ExchangeError`]; its size is looked at first.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExchangeError> {
        parse(bytes, MAX_REQUEST_BYTES, |file: &Self| file.format)
    }
}

impl SealedShare {
    /// Version of the format that is written.
    pub const FORMAT: u16 = FORMAT;

    /// Reads one; nothing in it is verified.
    ///
    /// # Errors
    /// [`ExchangeError`]; its size is looked at first.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExchangeError> {
        parse(bytes, MAX_SEALED_BYTES, |file: &Self| file.format)
    }
}

fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
    format: impl Fn(&T) -> u16,
) -> Result<T, ExchangeError> {
    if bytes.len() > limit {
        return Err(ExchangeError::TooLarge { limit, found: bytes.len() });
    }
    let file = api::parse(bytes).map_err(ExchangeError::Malformed)?;
    match format(&file) {
        FORMAT => Ok(file),
        other => Err(ExchangeError::UnknownVersion(other)),
    }
}

#[cfg(test)]
mod tests;
