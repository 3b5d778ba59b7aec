//! The one table of routes: which phase and role each needs, how much it may carry, what it costs,
//! how it is audited. The server is driven by it; tests are generated from it.

use casemate_formats::bundle::body::Roles;

use crate::phase::Phase;

/// An endpoint: one file in the firmware's `serve/endpoint/` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/encrypt`
    Encrypt,
    /// `POST /v1/encrypt/batch`
    EncryptBatch,
    /// `POST /v1/decrypt`
    Decrypt,
    /// `POST /v1/decrypt/batch`
    DecryptBatch,
    /// `GET /v1/keyrings`
    Keyrings,
    /// `GET /v1/status`
    Status,
    /// `GET /livez`
    Livez,
    /// `GET /readyz`
    Readyz,
    /// `POST /v1/request`
    Request,
    /// `GET /v1/bundle`
    BundleGet,
    /// `POST /v1/bundle`
    BundlePost,
    /// `POST /v1/genesis`
    Genesis,
    /// `GET /v1/audit/blocks`
    AuditBlocks,
    /// `GET /v1/audit/checkpoint`
    AuditCheckpoint,
    /// `POST /v1/audit/collected`
    AuditCollected,
}

/// HTTP method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No client certificate needed: harmless, or the body authenticates itself.
    Anyone,
    /// A listed client with any role.
    Listed,
    /// A listed client with one of these roles (on some keyring, for keyring roles).
    Role(Roles),
}

/// In which phases a route is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Before a bundle.
    pub unprovisioned: bool,
    /// Bundle, no root.
    pub locked: bool,
    /// Serving.
    pub operational: bool,
}

impl Phases {
    /// Whether `phase` is one of them.
    #[must_use]
    pub const fn contains(self, phase: Phase) -> bool {
        match phase {
            Phase::Unprovisioned => self.unprovisioned,
            Phase::Locked(_) => self.locked,
            Phase::Operational => self.operational,
        }
    }
}

/// How a call is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditClass {
    /// Not recorded (health).
    None,
    /// One record an item, before the answer.
    Item,
    /// One record a call, in the reserved part.
    Reserved,
    /// Only counted before there is a root.
    Counted,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Exact path.
    pub path: &'static str,
    /// What answers.
    pub endpoint: Endpoint,
    /// Open in.
    pub phases: Phases,
    /// Open to.
    pub caller: Caller,
    /// Bytes of body at most; checked before a byte is read.
    pub body_limit: usize,
    /// Budget items a call costs at least (a batch: one an item).
    pub cost: u32,
    /// How it is recorded.
    pub audit: AuditClass,
}
