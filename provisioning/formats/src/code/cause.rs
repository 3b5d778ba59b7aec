//! Causes of a refused item: what the audit log is told, and the client is not.

use super::Code;

/// Why an item was refused, for the audit log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client has no role on a keyring of that name, or there is none.
    NoRole,
    /// Context names are missing or too many.
    ContextNames,
    /// A context value is too long.
    ContextTooLarge,
    /// The value is too large.
    ValueTooLarge,
    /// The text is not a token.
    TokenMalformed,
    /// The keyring has no such version (any more).
    TokenVersion,
    /// The tag does not verify: altered, of another keyring, version, day or context.
    TokenTag,
    /// It verifies but is of no known kind.
    TokenKind,
    /// It is a canary.
    Canary,
    /// What was just encrypted did not decrypt: a fault of the machine.
    SelfCheck,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoRole,
        Self::ContextNames,
        Self::ContextTooLarge,
        Self::ValueTooLarge,
        Self::TokenMalformed,
        Self::TokenVersion,
        Self::TokenTag,
        Self::TokenKind,
        Self::Canary,
        Self::SelfCheck,
    ];

    /// Its stable name in the log.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::NoRole => "no-role",
            Self::ContextNames => "context-names",
            Self::ContextTooLarge => "context-too-large",
            Self::ValueTooLarge => "value-too-large",
            Self::TokenMalformed => "token-malformed",
            Self::TokenVersion => "token-version",
            Self::TokenTag => "token-tag",
            Self::TokenKind => "token-kind",
            Self::Canary => "canary",
            Self::SelfCheck => "self-check",
        }
    }

    /// What the client is told.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::NoRole => Code::NotPermitted,
            Self::ContextNames => Code::ContextNames,
            Self::ContextTooLarge => Code::ContextTooLarge,
            Self::ValueTooLarge => Code::ValueTooLarge,
            Self::TokenMalformed
            | Self::TokenVersion
            | Self::TokenTag
            | Self::TokenKind
            | Self::Canary => Code::InvalidToken,
            Self::SelfCheck => Code::Internal,
        }
    }
}
