//! The one table of routes: which phase and role each needs, how much it may carry, what it costs,
//! how it is audited. The server is driven by it; tests are generated from it.

use casemate_formats::{bundle::body::Roles, code::Code, limits};

use crate::phase::Phase;

#[cfg(test)]
mod matrix;

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
    /// `POST /v1/shares`
    Shares,
    /// `POST /v1/forward`
    Forward,
    /// `GET /v1/audit/blocks`
    AuditBlocks,
    /// `GET /v1/audit/checkpoint`
    AuditCheckpoint,
    /// `POST /v1/audit/collected`
    AuditCollected,
    /// `PUT /v1/image`
    ImagePut,
}

/// HTTP method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
}

impl Method {
    /// As it stands in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No client certificate needed: harmless, or the body authenticates itself.
    Anyone,
    /// A listed client with any role.
    Listed,
    /// A listed client with at least one of these roles (on some keyring, for keyring roles).
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
    /// Every phase.
    pub const ALL: Self = Self { unprovisioned: true, locked: true, operational: true };
    /// From the first bundle on: clients are known.
    pub const PROVISIONED: Self = Self { unprovisioned: false, ..Self::ALL };
    /// With the root alone.
    pub const OPERATIONAL: Self = Self { locked: false, ..Self::PROVISIONED };

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

impl Route {
    /// What is answered when the box is in `phase`; `None`: the route is open. Checked before the
    /// caller: without a bundle or a root nobody is known. Those who encrypt and decrypt are told
    /// 503, so that they go on to the next box; operators get the conflict as it is.
    #[must_use]
    pub const fn closed_in(&self, phase: Phase) -> Option<Code> {
        match (self.phases.contains(phase), self.audit) {
            (true, _) => None,
            (false, AuditClass::Item) => Some(Code::NotOperational),
            (false, _) => Some(Code::WrongPhase),
        }
    }

    /// Whether someone with these roles may call it; `None`: without a listed key.
    #[must_use]
    pub const fn open_to(&self, roles: Option<Roles>) -> bool {
        match (self.caller, roles) {
            (Caller::Anyone, _) | (Caller::Listed, Some(_)) => true,
            (Caller::Role(wanted), Some(roles)) => wanted.0 & roles.0 != 0,
            (_, None) => false,
        }
    }
}

/// One value of [`limits::PLAINTEXT_BYTES`] in base64, its context and its reference, escaped.
const ITEM_BODY: usize = 128 * 1024;
/// A thousand items of a column (2 KiB each), or some large ones. A batch in work holds this twice.
const BATCH_BODY: usize = 2 * 1024 * 1024;
/// A request with its event log (a server's measures some 100 KiB) in base64.
const REQUEST_BODY: usize = 256 * 1024;
/// A whole ESP; streamed to the disk, never held.
const IMAGE_BODY: usize = 64 * 1024 * 1024;
/// A nonce, a credential, a number, a message of each custodian.
const SMALL_BODY: usize = 16 * 1024;

const fn item(path: &'static str, endpoint: Endpoint, role: Roles, body_limit: usize) -> Route {
    Route {
        method: Method::Post,
        path,
        endpoint,
        phases: Phases::OPERATIONAL,
        caller: Caller::Role(role),
        body_limit,
        cost: 1,
        audit: AuditClass::Item,
    }
}

const fn get(path: &'static str, endpoint: Endpoint, phases: Phases, caller: Caller) -> Route {
    Route {
        method: Method::Get,
        path,
        endpoint,
        phases,
        caller,
        body_limit: 0,
        cost: 0,
        audit: AuditClass::None,
    }
}

const fn post(
    path: &'static str,
    endpoint: Endpoint,
    phases: Phases,
    caller: Caller,
    body_limit: usize,
    audit: AuditClass,
) -> Route {
    Route { method: Method::Post, path, endpoint, phases, caller, body_limit, cost: 0, audit }
}

/// Every route there is.
pub static TABLE: &[Route] = &[
    item("/v1/encrypt", Endpoint::Encrypt, Roles::ENCRYPT, ITEM_BODY),
    item("/v1/encrypt/batch", Endpoint::EncryptBatch, Roles::ENCRYPT, BATCH_BODY),
    item("/v1/decrypt", Endpoint::Decrypt, Roles::DECRYPT, ITEM_BODY),
    item("/v1/decrypt/batch", Endpoint::DecryptBatch, Roles::DECRYPT, BATCH_BODY),
    get("/v1/keyrings", Endpoint::Keyrings, Phases::PROVISIONED, Caller::Listed),
    get(
        "/v1/status",
        Endpoint::Status,
        Phases::PROVISIONED,
        Caller::Role(Roles::MONITOR.union(Roles::OPERATE)),
    ),
    get("/livez", Endpoint::Livez, Phases::ALL, Caller::Anyone),
    get("/readyz", Endpoint::Readyz, Phases::ALL, Caller::Anyone),
    post(
        "/v1/request",
        Endpoint::Request,
        Phases::ALL,
        Caller::Anyone,
        SMALL_BODY,
        AuditClass::Counted,
    ),
    // No secret, but the whole map of a site: for those who run, watch or check it.
    get(
        "/v1/bundle",
        Endpoint::BundleGet,
        Phases::PROVISIONED,
        Caller::Role(Roles::OPERATE.union(Roles::AUDIT).union(Roles::MONITOR)),
    ),
    post(
        "/v1/bundle",
        Endpoint::BundlePost,
        Phases::ALL,
        Caller::Anyone,
        limits::BUNDLE_BYTES,
        AuditClass::Reserved,
    ),
    post(
        "/v1/genesis",
        Endpoint::Genesis,
        Phases::PROVISIONED,
        Caller::Role(Roles::OPERATE),
        SMALL_BODY,
        AuditClass::Reserved,
    ),
    // Reading the log is not recorded: each read would make a block for the next one.
    get("/v1/audit/blocks", Endpoint::AuditBlocks, Phases::OPERATIONAL, Caller::Role(Roles::AUDIT)),
    get(
        "/v1/audit/checkpoint",
        Endpoint::AuditCheckpoint,
        Phases::OPERATIONAL,
        Caller::Role(Roles::AUDIT),
    ),
    post(
        "/v1/audit/collected",
        Endpoint::AuditCollected,
        Phases::OPERATIONAL,
        Caller::Role(Roles::AUDIT),
        SMALL_BODY,
        AuditClass::Reserved,
    ),
    // An open box takes a pending root this way.
    post(
        "/v1/shares",
        Endpoint::Shares,
        Phases::PROVISIONED,
        Caller::Anyone,
        SMALL_BODY,
        AuditClass::Reserved,
    ),
    post(
        "/v1/forward",
        Endpoint::Forward,
        Phases::OPERATIONAL,
        Caller::Role(Roles::OPERATE),
        REQUEST_BODY,
        AuditClass::Reserved,
    ),
    // A box that is locked is not updated: its next image could not show that it opens the root.
    Route {
        method: Method::Put,
        ..post(
            "/v1/image",
            Endpoint::ImagePut,
            Phases::OPERATIONAL,
            Caller::Role(Roles::OPERATE),
            IMAGE_BODY,
            AuditClass::Reserved,
        )
    },
];

/// Why no route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No such path: 404.
    Path,
    /// The path is there, the method is not: 405, with this `Allow`.
    Method(&'static str),
}

impl NotFound {
    /// What is answered.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Path => Code::NoSuchRoute,
            Self::Method(_) => Code::MethodNotAllowed,
        }
    }
}

/// The route of a request line; `path` without its query.
///
/// # Errors
/// No such path, or not with this method.
pub fn find(method: &str, path: &str) -> Result<&'static Route, NotFound> {
    let (mut get, mut post, mut put) = (false, false, false);
    for route in TABLE.iter().filter(|route| route.path == path) {
        if route.method.as_str() == method {
            return Ok(route);
        }
        match route.method {
            Method::Get => get = true,
            Method::Post => post = true,
            Method::Put => put = true,
        }
    }
    Err(match (get, post, put) {
        (false, false, false) => NotFound::Path,
        (true, false, _) => NotFound::Method("GET"),
        (false, true, _) => NotFound::Method("POST"),
        // No path has more than these two.
        (true, true, _) => NotFound::Method("GET, POST"),
        (false, false, true) => NotFound::Method("PUT"),
    })
}

#[cfg(test)]
mod tests;
