//! Genesis: the answer of a box that made or re-shared a root, quoted by its TPM, and the
//! custodians' acknowledgements.

use serde::{Deserialize, Serialize};

use crate::{
    bundle::body::Label,
    digest::{Digest, tagged},
};

/// What the box answers to `POST /v1/genesis`. `quote` covers everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The bundle that asked for it.
    pub bundle: Digest,
    /// Generation of the root that is shared.
    pub generation: u32,
    /// Its fingerprint.
    pub fingerprint: Digest,
    /// Number of this split.
    pub split: u32,
    /// One for each custodian.
    pub commitments: Vec<Digest>,
    /// CA certificate of this generation, DER.
    #[serde(with = "crate::api::b64")]
    pub authority: Vec<u8>,
    /// The former root encrypted under this one.
    #[serde(default, with = "crate::api::b64_option")]
    pub wrapped: Option<Vec<u8>>,
    /// One age file for each custodian.
    #[serde(with = "crate::api::b64_list")]
    pub shares: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the AK that quoted; the bundle pins its Name.
    #[serde(with = "crate::api::b64")]
    pub ak_public: Vec<u8>,
    /// PCR values 0 to 15 of the sha256 bank, as read beside the quote.
    pub pcrs: Vec<Digest>,
    /// TPMS_ATTEST by the AK over PCRs 0 to 15, extraData = [`Answer::extra_data`].
    #[serde(with = "crate::api::b64")]
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    #[serde(with = "crate::api::b64")]
    pub signature: Vec<u8>,
}

impl Answer {
    /// The quote's extraData: what is signed of this answer (everything but the quote itself).
    #[must_use]
    pub fn extra_data(&self) -> Digest {
        let list = |items: &[Vec<u8>]| {
            tagged("list", &items.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        let commitments = self.commitments.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let wrapped = self.wrapped.iter().map(Vec::as_slice).collect::<Vec<_>>();
        tagged(
            "genesis",
            &[
                &self.bundle.0,
                &self.generation.to_be_bytes(),
                &self.fingerprint.0,
                &self.split.to_be_bytes(),
                &tagged("list", &commitments).0,
                &self.authority,
                &tagged("list", &wrapped).0,
                &list(&self.shares).0,
            ],
        )
    }
}

/// What custodians get: the answer and the bundle that asked for it, so that they can check it
/// offline. A JSON file; `casemate genesis run` writes it, `casemate share ack` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Envelope of the bundle that asked.
    #[serde(with = "crate::api::b64")]
    pub bundle: Vec<u8>,
    /// The quoted answer.
    pub answer: Answer,
}

/// A custodian's acknowledgement on its way to ops. A JSON file; public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The site.
    pub namespace: Label,
    /// Generation of the root.
    pub generation: u32,
    /// Number of the split.
    pub split: u32,
    /// Who has decrypted a share.
    pub custodian: Label,
    /// [`ack`] of that share.
    pub ack: Digest,
}

/// A custodian's proof of having decrypted a share.
#[must_use]
pub fn ack(share: &[u8]) -> Digest {
    tagged("ack", &[share])
}

/// What the bundle holds of a share before its custodian answered.
#[must_use]
pub fn commitment(ack: &Digest) -> Digest {
    tagged("commitment", &[&ack.0])
}

#[cfg(test)]
mod tests;
