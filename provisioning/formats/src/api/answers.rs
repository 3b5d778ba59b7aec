//! What the service answers. Fields may be added; clients ignore what they do not know.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{code::Code, digest::Digest, share::Message};

/// `encrypt`: what the application stores.
#[derive(Deserialize, Serialize)]
pub struct Encrypted {
    /// `cm1.<keyring>.<version>.<base64url>`.
    pub token: String,
}

/// `decrypt`: the value.
#[derive(Deserialize, Serialize)]
pub struct Decrypted {
    /// base64.
    #[serde(with = "super::b64_secret")]
    pub plaintext: Zeroizing<Vec<u8>>,
}

/// A batch's answer: one for each item, in order.
#[derive(Deserialize, Serialize)]
pub struct Answers<T> {
    /// In the order asked.
    pub items: Vec<Answer<T>>,
}

/// One item's answer: what a single call would have said, or why not.
#[derive(Deserialize, Serialize)]
pub struct Answer<T> {
    /// The item's `ref`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Set when it was done.
    #[serde(
        flatten,
        skip_serializing_if = "Option::is_none",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    pub done: Option<T>,
    /// Set when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Why an item was not done: a problem document without what the whole answer says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ItemError {
    /// Stable, for machines.
    pub code: String,
    /// The status that a single call would have had.
    pub status: u16,
    /// What was expected, in the box's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl ItemError {
    /// With this code.
    #[must_use]
    pub fn new(code: Code, detail: Option<String>) -> Self {
        Self { code: code.slug().to_owned(), status: code.status(), detail }
    }
}

/// `GET /v1/keyrings`: what this client may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keyrings {
    /// By ascending name.
    pub keyrings: Vec<Keyring>,
}

/// One keyring, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keyring {
    /// Its name.
    pub name: String,
    /// Names that every context must have: exactly these.
    pub context: Vec<String>,
    /// Which of them names the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The version that encrypts.
    pub version: u32,
    /// The lowest version that decrypts.
    pub first_version: u32,
    /// This client's roles on it: `encrypt`, `decrypt`, `rewrap`, `index`.
    pub roles: Vec<String>,
}

/// `GET /livez`, `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Health {
    /// `unprovisioned`, `locked` or `operational`.
    pub phase: String,
    /// Whether values can be encrypted and decrypted now.
    pub ready: bool,
    /// What is not as it should be: codes that make it not ready first, then warnings.
    pub reasons: Vec<String>,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Status {
    /// `unprovisioned`, `locked` or `operational`.
    pub phase: String,
    /// Why it is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The site.
    pub namespace: String,
    /// This box in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Number of the bundle in force.
    pub seq: u64,
    /// Its digest.
    pub bundle: Digest,
    /// PCR 11 of the running image at `enter-casemate`.
    pub image: Digest,
    /// SHA-256 of this boot's TLS key.
    pub tls_key: Digest,
    /// Firmware version.
    pub version: String,
    /// Unix seconds by the box's clock.
    pub time: u64,
    /// Memory that PID 1 holds, in KiB.
    pub resident_kib: u64,
    /// Connections: without and with a listed key.
    pub connections: Connections,
    /// The log.
    pub audit: AuditStatus,
    /// Its two ESPs, and a change of image under way.
    #[serde(default)]
    pub update: UpdateStatus,
}

/// How a change of the image stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct UpdateStatus {
    /// `none`, `receiving`, `armed` (reboots now), `trial` (not committed yet), `copying` (the running
    /// ESP over the other one), `failed` (the last trial went back to this image).
    pub state: String,
    /// The image that is tried or failed: PCR 11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// The ESP that runs, `A` or `B`, once the firmware was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<String>,
}

/// `PUT /v1/image`: the other ESP holds the image; the box starts it now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ImageTaken {
    /// PCR 11 of the image.
    pub image: Digest,
    /// The ESP that holds it: `A` or `B`.
    pub esp: String,
}

/// Connections now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Connections {
    /// Without a listed key.
    pub strange: usize,
    /// With one.
    pub listed: usize,
}

/// How the audit log stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AuditStatus {
    /// `namespace/host/log id`; none before there is a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Whether records can be written.
    pub available: bool,
    /// Closed blocks.
    pub size: u64,
    /// Records since boot.
    pub records: u64,
    /// Unacknowledged part of the ring, in thousandths.
    pub fill: u16,
    /// Past the warning level.
    pub warning: bool,
    /// `state-rolled-back`: reads stay closed.
    pub rolled_back: bool,
}

/// `POST /v1/bundle`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Accepted {
    /// Digest of the bundle in force.
    pub bundle: Digest,
    /// Its number.
    pub seq: u64,
    /// The phase that it led to.
    pub phase: String,
    /// `again`, `in-force`, `entered` (Operational from now on) or `retired` (reboots now).
    pub outcome: String,
}

/// `POST /v1/shares`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SharesTaken {
    /// Shares that this boot holds now; 0 once the root is open (they are wiped then).
    pub held: u8,
    /// How many open the root.
    pub needed: u8,
    /// The phase now: `operational` once the root is open.
    pub phase: String,
    /// Messages that were not taken, in the order sent; the others were.
    pub refused: Vec<RefusedShare>,
}

/// One message that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RefusedShare {
    /// Which of the messages sent, from 0.
    pub index: usize,
    /// Its commitment, where it is a share that opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Digest>,
    /// Stable, for machines: see [`crate::code`].
    pub code: String,
}

/// `POST /v1/forward`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Forwarded {
    /// The root, sealed to that boot; goes to its `POST /v1/shares`.
    pub message: Message,
    /// Whether it carries a pending root as well.
    pub pending: bool,
}

/// `GET /v1/audit/blocks?from=&wait=`: closed blocks in order; none when there is none yet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Blocks {
    /// `namespace/host/log id`.
    pub origin: String,
    /// In order, starting at `from`.
    pub blocks: Vec<Block>,
}

/// One closed block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Block {
    /// Its number, which is its leaf's.
    pub number: u64,
    /// Its records; the leaf is over exactly these bytes.
    #[serde(with = "super::b64")]
    pub records: Vec<u8>,
}

/// `POST /v1/audit/collected`, asked and answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// The first block that this collector does not have.
    pub next: u64,
}
