//! Answers: JSON, bytes or a problem document; and the proof without which no item is answered.

pub mod problem;

use bytes::Bytes;
use casemate_formats::{audit::record::RequestId, code::Code};
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    },
};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use crate::audit::{AuditUnavailable, Recorded};

pub use problem::Refusal;

/// `Request-Id`, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// JSON.
pub const JSON: &str = "application/json";
/// Bytes: a bundle's envelope.
pub const OCTETS: &str = "application/octet-stream";
/// Text: a checkpoint.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// An answer that is not yet on its way.
pub struct Reply {
    status: u16,
    media: &'static str,
    body: Bytes,
    allow: Option<&'static str>,
    retry_after: Option<u16>,
    close: bool,
    room: Option<OwnedSemaphorePermit>,
}

impl Reply {
    /// 200 with a JSON body. The bytes are wiped once they are sent: they may hold a plaintext.
    ///
    /// # Errors
    /// [`Refusal`] `internal` when a value has no JSON form.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, Refusal> {
        Self::json_status(200, value)
    }

    /// The same with another status (`/readyz`).
    ///
    /// # Errors
    /// [`Refusal`] `internal` when a value has no JSON form.
    pub fn json_status<T: Serialize>(status: u16, value: &T) -> Result<Self, Refusal> {
        let mut body = Wiped(Zeroizing::new(Vec::with_capacity(256)));
        serde_json::to_writer(&mut body, value).map_err(|_| Refusal::internal())?;
        Ok(Self::bytes(status, JSON, Bytes::from_owner(body)))
    }

    /// 200 with bytes of this media type, which stay where their owner has them.
    #[must_use]
    pub fn octets(media: &'static str, body: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::bytes(200, media, Bytes::from_owner(body))
    }

    fn bytes(status: u16, media: &'static str, body: Bytes) -> Self {
        Self { status, media, body, allow: None, retry_after: None, close: false, room: None }
    }

    /// A status and nothing else.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::bytes(status, JSON, Bytes::new())
    }

    /// Keeps the room that its request, or it itself, took until the last byte is on its way: whoever asks for large
    /// answers and does not read them would otherwise fill the memory with them.
    #[must_use]
    pub fn holding(mut self, room: Option<OwnedSemaphorePermit>) -> Self {
        self.room = self.room.or(room);
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// As HTTP.
    #[must_use]
    pub fn into_response(self, id: &RequestId) -> Response<Full<Bytes>> {
        let body = match self.room {
            None => self.body,
            Some(room) => Bytes::from_owner(Held { bytes: self.body, _room: room }),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Bytes under way, and the room that they take.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes under way that are wiped when the last reader is done. It grows by moving into a larger
/// buffer and wiping the smaller one: a plain `Vec` would leave copies behind.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer of an item route. It exists only with the proof that its records stand on the disk, or
/// with the disk's refusal, which is then all that it says.
pub struct Proven(Reply);

impl Proven {
    /// What was recorded may be said, to the request with this id.
    #[must_use]
    pub fn new(
        proof: Result<Recorded, AuditUnavailable>,
        answer: Result<Reply, Refusal>,
        id: &str,
    ) -> Self {
        let answer = proof.map_err(Refusal::from).and(answer);
        Self(answer.unwrap_or_else(|refusal| refusal.into_reply_to(id)))
    }

    /// The refusal of a caller without a listed key, of whom no item is recorded.
    #[must_use]
    pub fn nobody(id: &str) -> Self {
        Self(Refusal::from(Code::NoClientCertificate).into_reply_to(id))
    }

    /// The answer.
    #[must_use]
    pub fn into_reply(self) -> Reply {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn bytes_that_many_ask_for_are_not_copied() {
        let bundle: Arc<[u8]> = Arc::from(&b"the bundle in force"[..]);
        let id = RequestId::parse("r1").expect("within the alphabet");
        let asked = |_| Reply::octets(OCTETS, Arc::clone(&bundle)).into_response(&id).into_body();
        for body in [1, 2].map(asked) {
            let bytes = body.collect().await.expect("a body of bytes").to_bytes();
            assert_eq!(bytes.as_ptr(), bundle.as_ptr());
        }
        assert_eq!(Arc::strong_count(&bundle), 1);
    }

    #[tokio::test]
    async fn an_answer_holds_its_room_until_its_bytes_are_gone() {
        let room = Arc::new(Semaphore::new(1));
        let taken = Arc::clone(&room).acquire_owned().await.expect("open");
        let reply = Reply::octets(OCTETS, b"a large answer".to_vec()).holding(Some(taken));
        let id = RequestId::parse("r1").expect("within the alphabet");
        let body = reply.into_response(&id).into_body();
        let bytes = body.collect().await.expect("a body of bytes").to_bytes();
        assert_eq!((bytes.as_ref(), room.available_permits()), (&b"a large answer"[..], 0));
        drop(bytes);
        assert_eq!(room.available_permits(), 1);
    }
}
