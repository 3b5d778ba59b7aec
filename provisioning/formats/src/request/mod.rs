//! A box's request: who it is, what it booted, which keys it made for this boot, all quoted by its TPM.

#[cfg(feature = "sign")]
pub mod credential;
pub mod endorsement;
pub mod eventlog;
pub mod firmware;
pub mod public;
pub mod quote;
pub mod verify;
mod wire;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, tagged};

/// `POST /v1/request`, what is asked. Binary fields are standard base64 with padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// 32 fresh bytes of the asker.
    #[serde(with = "crate::api::b64_array")]
    pub nonce: [u8; 32],
    /// A credential for this box's EK and AK (TPM 2.0 Part 3, 12.5), to prove that they share a TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

/// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both with their size fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// TPM2B_ID_OBJECT.
    #[serde(with = "crate::api::b64")]
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    #[serde(with = "crate::api::b64")]
    pub secret: Vec<u8>,
}

/// What the box answers: public, worth nothing without [`verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The asker's nonce, back.
    #[serde(with = "crate::api::b64_array")]
    pub nonce: [u8; 32],
    /// What the quote binds beside the PCRs.
    pub claims: Claims,
    /// DER certificate of the EK, where the TPM has one.
    #[serde(default, with = "crate::api::b64_option")]
    pub ek_certificate: Option<Vec<u8>>,
    /// TPMT_PUBLIC of the EK.
    #[serde(with = "crate::api::b64")]
    pub ek_public: Vec<u8>,
    /// TPMT_PUBLIC of the AK.
    #[serde(with = "crate::api::b64")]
    pub ak_public: Vec<u8>,
    /// TPMS_ATTEST.
    #[serde(with = "crate::api::b64")]
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    #[serde(with = "crate::api::b64")]
    pub signature: Vec<u8>,
    /// PCR values 0 to 15 of the sha256 bank, as read beside the quote.
    pub pcrs: Vec<Digest>,
    /// The firmware's event log (TCG PC Client Platform Firmware Profile, section 10).
    #[serde(with = "crate::api::b64")]
    pub event_log: Vec<u8>,
    /// Answer to [`Ask::credential`]: `tagged("credential", [secret, nonce])`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_answer: Option<Digest>,
}

/// Everything of a request that `extraData` covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// `unprovisioned`, `locked` or `operational`.
    pub phase: String,
    /// Digest of the bundle in force; zero: none.
    pub bundle: Digest,
    /// PCR 11 after `enter-casemate`: the running image's id.
    pub image: Digest,
    /// Id of the audit log; zero: none yet.
    pub log_id: Digest,
    /// Ed25519 key that signs its checkpoints; zero: none yet.
    pub checkpoint_key: Digest,
    /// HPKE public key of this boot (X25519).
    pub hpke_key: Digest,
    /// SHA-256 of the SubjectPublicKeyInfo of this boot's TLS key.
    pub tls_key: Digest,
    /// Challenge for orders, used once (see `order`).
    pub order_challenge: Digest,
}

impl Claims {
    /// The quote's extraData.
    #[must_use]
    pub fn extra_data(&self, nonce: &[u8; 32]) -> Digest {
        tagged(
            "request",
            &[
                self.phase.as_bytes(),
                &self.bundle.0,
                &self.image.0,
                &self.log_id.0,
                &self.checkpoint_key.0,
                &self.hpke_key.0,
                &self.tls_key.0,
                &self.order_challenge.0,
                nonce,
            ],
        )
    }
}
