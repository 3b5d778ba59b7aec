//! Problem documents (RFC 9457). Everything in one comes from the list of codes and from what the
//! box itself knows: no input, no secret.

use casemate_formats::{api::Problem, audit::record::Slug, code::Code};

use super::Reply;
use crate::audit::AuditUnavailable;

/// `application/problem+json` (RFC 9457, section 6.1).
const PROBLEM: &str = "application/problem+json";

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is said.
    pub code: Code,
    /// What was expected, in the box's own words (names of a keyring's context, a limit).
    pub detail: Option<String>,
    allow: Option<&'static str>,
    retry_after: Option<u16>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        // A full place is free again soon; a budget says its own time.
        let retry_after = match code {
            Code::ReducedCapacity | Code::TpmUnavailable => Some(1),
            Code::AuditUnavailable | Code::NotOperational | Code::Draining => Some(10),
            _ => None,
        };
        Self { code, detail: None, allow: None, retry_after }
    }
}

impl From<AuditUnavailable> for Refusal {
    fn from(_: AuditUnavailable) -> Self {
        Code::AuditUnavailable.into()
    }
}

impl Refusal {
    /// The box failed.
    #[must_use]
    pub fn internal() -> Self {
        Code::Internal.into()
    }

    /// The path takes other methods.
    #[must_use]
    pub fn method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Code::MethodNotAllowed.into() }
    }

    /// The same with the box's own words.
    #[must_use]
    pub fn with_detail(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// Its code as a record shows it.
    #[must_use]
    pub fn slug(&self) -> Slug {
        Slug::fixed(self.code.slug())
    }

    /// As a document. `instance` is filled in by [`Refusal::into_reply_to`].
    #[must_use]
    pub fn document(&self, instance: &str) -> Problem {
        Problem {
            kind: self.code.uri(),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            code: self.code.slug().to_owned(),
            instance: instance.to_owned(),
            detail: self.detail.clone(),
        }
    }

    /// As an answer to the request with this id.
    #[must_use]
    pub fn into_reply_to(self, id: &str) -> Reply {
        let document = self.document(id);
        let mut reply =
            Reply::json_status(document.status, &document).unwrap_or_else(|_| Reply::empty(500));
        reply.media = PROBLEM;
        reply.allow = self.allow;
        reply.retry_after = self.retry_after;
        // A stranger's connection is not kept, nor one whose body was not read.
        reply.close = matches!(
            self.code,
            Code::NoClientCertificate
                | Code::UntrustedClient
                | Code::BodyTooLarge
                | Code::TooLarge
                | Code::LengthRequired
                | Code::UnsupportedMediaType
                | Code::HeadersTooLarge
        );
        reply
    }
}
