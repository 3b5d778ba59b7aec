//! The endpoints, one file each. By the time one is called, route, phase, caller and limits have been
//! checked; what is left is to parse, to decide, to do, to note, to answer.

pub(super) mod audit;
pub(super) mod bundle;
pub(super) mod decrypt;
pub(super) mod encrypt;
pub(super) mod forward;
pub(super) mod genesis;
pub(super) mod health;
pub(super) mod image;
pub(super) mod items;
pub(super) mod keyrings;
pub(super) mod request;
pub(super) mod shares;
pub(super) mod status;

use casemate_core::routes::Endpoint;
use casemate_formats::{api, code::Code};
use serde::de::DeserializeOwned;

use crate::reply::Refusal;

/// An endpoint's name in records.
pub(super) const fn name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Encrypt => "encrypt",
        Endpoint::EncryptBatch => "encrypt-batch",
        Endpoint::Decrypt => "decrypt",
        Endpoint::DecryptBatch => "decrypt-batch",
        Endpoint::Keyrings => "keyrings",
        Endpoint::Status => "status",
        Endpoint::Livez => "livez",
        Endpoint::Readyz => "readyz",
        Endpoint::Request => "request",
        Endpoint::BundleGet => "bundle-get",
        Endpoint::BundlePost => "bundle",
        Endpoint::Genesis => "genesis",
        Endpoint::Shares => "shares",
        Endpoint::Forward => "forward",
        Endpoint::AuditBlocks => "audit-blocks",
        Endpoint::AuditCheckpoint => "audit-checkpoint",
        Endpoint::AuditCollected => "audit-collected",
        Endpoint::ImagePut => "image",
    }
}

/// A JSON body, strictly. Where it goes wrong is said in words of our own, never with input.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    api::parse(body).map_err(|malformed| {
        Refusal::from(Code::MalformedRequest).with_detail(malformed.to_string())
    })
}
