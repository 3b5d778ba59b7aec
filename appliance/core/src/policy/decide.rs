//! The decision about one item. Order: role, then the context's names, then its sizes; so that who
//! may not use a keyring learns nothing about it.

use casemate_formats::{
    api::Context,
    bundle::body::{Keyring, Label, Roles},
    code::{Cause, Code},
    limits,
};

use super::{ClientId, OnCanary, Policy};

/// What an item asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A token of a value.
    Encrypt,
    /// The value of a token.
    Decrypt,
}

impl Operation {
    /// The role that allows it.
    #[must_use]
    pub const fn role(self) -> Roles {
        match self {
            Self::Encrypt => Roles::ENCRYPT,
            Self::Decrypt => Roles::DECRYPT,
        }
    }
}

/// Proof that policy allowed one operation on one keyring with one context; only
/// [`Policy::decide`] makes it, and the keyring works on nothing else.
pub struct Permit<'a> {
    operation: Operation,
    keyring: &'a Label,
    subject: Option<&'a str>,
    context: &'a Context,
    on_canary: OnCanary,
}

impl Permit<'_> {
    /// What is allowed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// On which keyring.
    #[must_use]
    pub fn keyring(&self) -> &str {
        self.keyring.as_str()
    }

    /// Whose value it is, on a keyring whose context names a subject.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject
    }

    /// With which context; its names are the keyring's.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.context
    }

    /// What to do when it turns out to be a canary.
    #[must_use]
    pub fn on_canary(&self) -> OnCanary {
        self.on_canary
    }
}

/// Why an item is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the audit log.
    pub cause: Cause,
    /// For the client: which names were expected or found.
    pub detail: Option<String>,
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn code(&self) -> Code {
        self.cause.code()
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: None }
    }
}

impl Policy {
    /// Decides about one item of one client.
    ///
    /// # Errors
    /// [`Refusal`]: no role on such a keyring (there may be none), wrong context names, too long
    /// context values.
    pub fn decide<'a>(
        &'a self,
        client: ClientId,
        operation: Operation,
        keyring: &str,
        context: &'a Context,
    ) -> Result<Permit<'a>, Refusal> {
        let keyring = self.granted(client, operation, keyring).ok_or(Cause::NoRole)?;
        check_names(keyring, context)?;
        for (name, value) in context.iter() {
            if value.len() > limits::CONTEXT_BYTES {
                let detail = format!("{name}: more than {} bytes", limits::CONTEXT_BYTES);
                return Err(Refusal { cause: Cause::ContextTooLarge, detail: Some(detail) });
            }
        }
        let subject = keyring.subject.as_ref().and_then(|name| context.get(name.as_str()));
        let on_canary = OnCanary::Alert;
        Ok(Permit { operation, keyring: &keyring.name, subject, context, on_canary })
    }

    fn granted(&self, client: ClientId, operation: Operation, name: &str) -> Option<&Keyring> {
        let at = self.keyrings.binary_search_by(|k| k.name.as_str().cmp(name)).ok()?;
        let grants = &self.of(client)?.grants;
        let grant = grants.binary_search_by_key(&at, |(at, _)| usize::from(*at)).ok()?;
        let (_, roles) = grants.get(grant)?;
        if roles.contains(operation.role()) { self.keyrings.get(at) } else { None }
    }
}

/// Exactly the names that the keyring lists; both are sorted.
fn check_names(keyring: &Keyring, context: &Context) -> Result<(), Refusal> {
    let expected = keyring.context.iter().map(Label::as_str);
    if context.names().eq(expected.clone()) {
        return Ok(());
    }
    let missing = expected.clone().filter(|name| context.get(name).is_none());
    // A name is repeated only when it could be one: nothing else of the input goes out again.
    let extra = context
        .names()
        .filter(|name| !expected.clone().any(|known| known == *name))
        .map(|name| if Label::parse(name).is_some() { name } else { "(not a name)" });
    let mut detail = String::new();
    for (word, names) in
        [("missing", missing.collect::<Vec<_>>()), ("extra", extra.take(8).collect())]
    {
        if !names.is_empty() {
            let separator = if detail.is_empty() { "" } else { "; " };
            detail.extend([separator, word, ": ", &names.join(", ")]);
        }
    }
    Err(Refusal { cause: Cause::ContextNames, detail: Some(detail) })
}
