//! Every stable error code in one place: what a problem document's `code` and `type` may say, the
//! HTTP status that goes with it, who has to act, and how.

mod cause;
mod table;

pub use cause::Cause;
pub use table::Code;

/// Where a code is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By the service, to a client.
    Service,
    /// By a box, about a bundle, a request or genesis; the tools say the same before anything is sent.
    Provisioning,
    /// By a box that is not open: why.
    Phase,
    /// By a tool that checked what a box answered.
    Verification,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever writes the calling application.
    Developer,
    /// Whoever runs boxes and clients.
    Operations,
    /// The bundle's signers.
    Signers,
    /// The custodians of the root.
    Custodians,
    /// Nobody: the caller tries again, here or at another box.
    Caller,
}

impl Actor {
    /// A word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::Operations => "operations",
            Self::Signers => "signers",
            Self::Custodians => "custodians",
            Self::Caller => "caller",
        }
    }
}

impl Code {
    /// The `type` of a problem document. Two are registered with IANA, the others are names.
    #[must_use]
    pub fn uri(self) -> String {
        let base = match self {
            Self::QuotaExceeded | Self::ReducedCapacity => {
                "https://iana.org/assignments/http-problem-types#"
            }
            _ => "urn:casemate:problem:",
        };
        [base, self.slug()].concat()
    }

    /// The code with this slug.
    #[must_use]
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.slug() == slug)
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.slug())
    }
}

#[cfg(test)]
mod tests;
