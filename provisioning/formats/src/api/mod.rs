//! The JSON bodies of the service, shared by the firmware's endpoints and the tools. Strict:
//! unknown fields, duplicate keys and non-canonical base64 are refused.

use serde::{Deserialize, Serialize};

use crate::{request::Request, share::Message};

mod answers;
mod bytes;
mod context;
mod items;
mod strict;

pub use answers::{
    Accepted, Answer, Answers, AuditStatus, Block, Blocks, Collected, Connections, Decrypted,
    Encrypted, Forwarded, Health, ImageTaken, ItemError, Keyring, Keyrings, RefusedShare,
    SharesTaken, Status, UpdateStatus,
};
pub use bytes::{b64, b64_array, b64_list, b64_option, b64_secret};
pub use context::Context;
pub use strict::{Malformed, parse};

/// One item of `encrypt`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypt {
    /// Echoed in a batch's answer.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Which keyring.
    pub keyring: String,
    /// What the value belongs to.
    #[serde(default)]
    pub context: Context,
    /// The value, base64.
    #[serde(with = "b64_secret")]
    pub plaintext: zeroize::Zeroizing<Vec<u8>>,
}

/// One item of `decrypt`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypt {
    /// Echoed in a batch's answer.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// `cm1.<keyring>.<version>.<base64url>`.
    pub token: String,
    /// What the value belongs to.
    #[serde(default)]
    pub context: Context,
}

/// A batch of items, at most [`crate::limits::BATCH_ITEMS`].
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, bound(deserialize = "T: Deserialize<'de>"))]
pub struct Batch<T> {
    /// In order. Read no further than one more than a batch may have: that is enough to refuse it.
    #[serde(deserialize_with = "items::bounded")]
    pub items: Vec<T>,
}

/// `POST /v1/shares`: shares, or one envelope with the root.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// At most one of each custodian.
    pub messages: Vec<Message>,
}

/// `POST /v1/forward`: another box's request, to be verified here before it gets the root.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Name of that box in the bundle in force.
    pub host: String,
    /// The nonce that it was asked with.
    #[serde(with = "b64_array")]
    pub nonce: [u8; 32],
    /// What it answered.
    pub request: Request,
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Problem {
    /// URI of the code's description.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable, for machines: see [`crate::code`].
    pub code: String,
    /// The request's id.
    pub instance: String,
    /// What was expected and found, where that is not the client's input or a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
