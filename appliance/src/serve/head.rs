//! What is taken from a request before it is parsed: its ids, its sizes, its body. Every limit is
//! checked before the bytes that it limits are kept.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_core::routes::{Endpoint, Method, Route};
use casemate_formats::{
    audit::record::RequestId,
    code::Code,
    digest::{Digest, hex},
};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Request,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::{
    House,
    admission::{Connection, Doing, Sender},
};
use crate::reply::{JSON, OCTETS, REQUEST_ID, Refusal};

/// hyper's buffer of a connection: twice a header that is accepted, so that one a little too large
/// is still answered with its code (beyond it hyper says a bare 431).
pub(super) const BUFFER: usize = 16 * 1024;
/// Bytes of a request line and header fields.
const HEAD_BYTES: usize = 8 * 1024;
/// Header fields.
const HEAD_FIELDS: usize = 64;

/// Bodies up to this size need no room of their own: all connections' together fit.
const SMALL: usize = 16 * 1024;
/// Room for larger bodies in work, in KiB. Parsed and answered, a body is held about four times.
const ROOM_KIB: usize = 8 * 1024;
/// How long a body waits for room.
const PATIENCE: Duration = Duration::from_secs(1);

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The ids that an answer and its records carry.
pub(super) struct Ids {
    /// `Request-Id`, the caller's or a new one.
    pub request: RequestId,
    /// Trace id of `traceparent` (W3C Trace Context, version 00).
    pub trace: Option<[u8; 16]>,
}

impl Ids {
    /// The caller's within their alphabets; otherwise new or none.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = |name: &HeaderName| {
            let mut all = headers.get_all(name).iter();
            all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok())
        };
        Self {
            request: given(&REQUEST_ID).and_then(RequestId::parse).unwrap_or_else(new_id),
            trace: given(&TRACEPARENT).and_then(trace_id),
        }
    }
}

fn new_id() -> RequestId {
    let mut random = [0; 16];
    // A generator that fails leaves an id that is not unique, and nothing worse.
    let _ = aws_lc_rs::rand::fill(&mut random);
    RequestId::parse(&hex(&random)).expect("hex digits are within the alphabet")
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, neither id zero.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    let mut parts = text.split('-');
    let mut part = |length| {
        let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == length && part.bytes().all(lower))
    };
    let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let zero = |digits: &str| digits.bytes().all(|b| b == b'0');
    if version != "00" || zero(trace) || zero(parent) || parts.next().is_some() {
        return None;
    }
    casemate_formats::digest::parse_hex(trace.as_bytes())?.try_into().ok()
}

/// Whether a header is within bounds.
///
/// # Errors
/// `headers-too-large`.
pub(super) fn check(request: &Request<Incoming>) -> Result<(), Refusal> {
    let headers = request.headers();
    let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if line + bytes > HEAD_BYTES || headers.len() > HEAD_FIELDS {
        return Err(Code::HeadersTooLarge.into());
    }
    Ok(())
}

/// Room for the large bodies and answers of all connections together.
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

/// A body, wiped on drop, and the room that it and its answer take.
pub(super) struct Body {
    pub bytes: Zeroizing<Vec<u8>>,
    pub room: Option<OwnedSemaphorePermit>,
    /// A stranger's place among those who send what takes room.
    pub place: Option<Sender>,
}

impl Room {
    /// Room for this many bytes, waited for a while.
    ///
    /// # Errors
    /// `temporary-reduced-capacity`.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Code> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let waiting = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(kib));
        waiting.await.ok().and_then(Result::ok).ok_or(Code::ReducedCapacity)
    }
}

/// Reads a body of the route's media type within its limit.
///
/// # Errors
/// `length-required`, `body-too-large`, `unsupported-media-type`, `temporary-reduced-capacity`,
/// `malformed-request`.
pub(super) async fn body(
    request: Request<Incoming>,
    route: &Route,
    connection: &Arc<Connection>,
    house: &House,
    stranger: bool,
) -> Result<Body, Refusal> {
    let length = length(request.headers(), route)?;
    if length > route.body_limit {
        return Err(match route.endpoint {
            Endpoint::BundlePost => Code::TooLarge,
            _ => Code::BodyTooLarge,
        }
        .into());
    }
    media_type(request.headers(), route)?;
    connection.set(Doing::Body);
    let (mut place, mut room) = (None, None);
    if length > SMALL {
        if stranger {
            place = Some(house.gate.sender(connection).await.ok_or(Code::ReducedCapacity)?);
        }
        room = Some(house.room.take(length).await?);
        // Its time to send begins now.
        connection.set(Doing::Body);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| Code::MalformedRequest)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > length {
            return Err(Code::BodyTooLarge.into());
        }
        bytes.extend_from_slice(data);
        connection.received(data.len());
    }
    connection.set(Doing::Served);
    Ok(Body { bytes, room, place })
}

/// The hash of the image that a request brings: `Content-Digest` with sha-256 alone (RFC 9530), of
/// exactly one ESP.
///
/// # Errors
/// `length-required`, `body-too-large`, `image-length`, `unsupported-media-type`, `malformed-request`.
pub(super) fn announced(headers: &HeaderMap, route: &Route) -> Result<Digest, Refusal> {
    let length = length(headers, route)?;
    match length.cmp(&route.body_limit) {
        Ordering::Less => return Err(Code::ImageLength.into()),
        Ordering::Greater => return Err(Code::BodyTooLarge.into()),
        Ordering::Equal => {}
    }
    media_type(headers, route)?;
    let mut all = headers.get_all(CONTENT_DIGEST).iter();
    let one = all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok());
    one.and_then(content_digest).ok_or_else(|| {
        Refusal::from(Code::MalformedRequest)
            .with_detail("expected Content-Digest: sha-256=:BASE64:".to_owned())
    })
}

fn content_digest(text: &str) -> Option<Digest> {
    let encoded = text.strip_prefix("sha-256=:")?.strip_suffix(':')?;
    Some(Digest(STANDARD.decode(encoded).ok()?.try_into().ok()?))
}

/// Content-Length; a GET may leave it out. hyper has refused contradictory ones.
fn length(headers: &HeaderMap, route: &Route) -> Result<usize, Refusal> {
    // Chunks would take precedence over a length (RFC 9112, 6.3): what is limited must be what comes.
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Code::LengthRequired.into());
    }
    match (headers.get(CONTENT_LENGTH), route.method) {
        (Some(length), _) => length
            .to_str()
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| Code::BodyTooLarge.into()),
        (None, Method::Get) => Ok(0),
        (None, Method::Post | Method::Put) => Err(Code::LengthRequired.into()),
    }
}

fn media_type(headers: &HeaderMap, route: &Route) -> Result<(), Refusal> {
    if route.method == Method::Get {
        return Ok(());
    }
    let wanted = match route.endpoint {
        Endpoint::BundlePost | Endpoint::ImagePut => OCTETS,
        _ => JSON,
    };
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, parameter) = given.split_once(';').unwrap_or((given, ""));
    let parameter = parameter.trim();
    let sound = kind.trim().eq_ignore_ascii_case(wanted)
        && (parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8"));
    if sound && !headers.contains_key(CONTENT_ENCODING) {
        Ok(())
    } else {
        Err(Code::UnsupportedMediaType.into())
    }
}

#[cfg(test)]
mod tests;
