//! A request's body on its way: in parts, so that somebody can be told how far it is.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bytes that are given to the connection at once.
const PART: usize = 64 * 1024;

/// Told how many bytes were given to the connection.
pub type Progress = Box<dyn FnMut(usize) + Send>;

/// A body.
pub struct Sending {
    rest: Bytes,
    sent: usize,
    progress: Option<Progress>,
}

impl Sending {
    /// These bytes; `progress` hears of each part.
    #[must_use]
    pub fn new(bytes: Bytes, progress: Option<Progress>) -> Self {
        Self { rest: bytes, sent: 0, progress }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PART);
        let part = self.rest.split_to(length);
        self.sent += part.len();
        let sent = self.sent;
        if let Some(progress) = &mut self.progress {
            progress(sent);
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
