//! What encrypt and decrypt share: the record of an item, and how its end is told to the log, to the
//! client, and to the client within a batch.

use casemate_core::{
    policy::{Operation as Asked, Permit, Refusal as Decision},
    routes::Endpoint,
};
use casemate_formats::{
    api::{Answer, Answers, ItemError},
    audit::record::{Event, Item, Operation, Outcome, Slug},
    bundle::body::Label,
    code::{Cause, Code},
    digest::preimage,
    limits,
};
use serde::Serialize;

use crate::{
    reply::{Proven, Refusal, Reply},
    serve::routes::{Call, Client},
};

/// An item that was worked on: what the log is told, and what the client.
pub(super) struct Done<T> {
    pub record: Item,
    pub answer: Result<T, Failed>,
}

/// Why an item was not done.
pub(super) struct Failed {
    pub code: Code,
    pub detail: Option<String>,
}

/// A record of an item of which nothing is known but who asked for what.
pub(super) fn blank(call: &Call<'_>, client: &Client, operation: Operation) -> Item {
    Item {
        client: client.name.clone(),
        operation,
        keyring: None,
        version: None,
        outcome: Outcome::Done,
        request: call.ids.request.clone(),
        trace: call.ids.trace,
        bytes: 0,
        subject: None,
        context: None,
        day: None,
    }
}

/// The record of a request that was refused before an item of it was read.
pub(in crate::serve) fn unnamed(call: &Call<'_>, client: &Client, refusal: &Refusal) -> Item {
    let operation = match call.route.endpoint {
        Endpoint::Decrypt | Endpoint::DecryptBatch => Operation::Decrypt,
        _ => Operation::Encrypt,
    };
    Item { outcome: Outcome::Refused(refusal.slug()), ..blank(call, client, operation) }
}

/// Keyring, subject and context as the log shows them, once policy allowed the item.
pub(super) fn describe(call: &Call<'_>, record: &mut Item, permit: &Permit<'_>) {
    let context = permit.context();
    let parts: Vec<&[u8]> =
        context.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    record.context = call.log().blind("context", &preimage("context", &parts));
    record.subject =
        permit.subject().and_then(|subject| call.log().blind("subject", subject.as_bytes()));
}

/// A name as the log shows it, where it could be one.
pub(super) fn named(keyring: &str) -> Option<Label> {
    Label::parse(keyring)
}

impl<T> Done<T> {
    /// Done, or not for a cause that only the log is told.
    pub fn new(mut record: Item, result: Result<T, Decision>) -> Self {
        let answer = result.map_err(|decision| {
            let code = decision.code();
            record.outcome = match code {
                Code::InvalidToken => Outcome::Invalid(Slug::fixed(decision.cause.slug())),
                _ => Outcome::Refused(Slug::fixed(code.slug())),
            };
            record.bytes = 0;
            Failed { code, detail: decision.detail }
        });
        Self { record, answer }
    }

    /// Takes the value back: its request touched a canary.
    pub fn withhold(&mut self) {
        if self.answer.is_ok() {
            self.answer = Err(Failed { code: Code::InvalidToken, detail: None });
            self.record.outcome = Outcome::Invalid(Slug::fixed(Cause::Canary.slug()));
            self.record.bytes = 0;
        }
    }
}

/// Answers a request for one item, once its record and what else happened are on the disk.
pub(super) async fn answer_one<T: Serialize>(
    call: &Call<'_>,
    done: Done<T>,
    also: Option<Event>,
) -> Proven {
    let proof = match also {
        None => call.log().record(Event::Item(done.record)).await,
        Some(also) => call.log().record_all(vec![Event::Item(done.record), also]).await,
    };
    let answer = match done.answer {
        Ok(value) => Reply::json(&value),
        Err(failed) => Err(failed.into()),
    };
    Proven::new(proof, answer, call.ids.request.as_str())
}

/// Answers a batch, in order, once all its records are on the disk with one wait.
pub(super) async fn answer_batch<T: Serialize>(
    call: &Call<'_>,
    done: Vec<(Option<String>, Done<T>)>,
    also: Option<Event>,
) -> Proven {
    let mut events = Vec::with_capacity(done.len() + 1);
    let mut items = Vec::with_capacity(done.len());
    for (reference, done) in done {
        events.push(Event::Item(done.record));
        let (done, error) = match done.answer {
            Ok(value) => (Some(value), None),
            Err(failed) => (None, Some(ItemError::new(failed.code, failed.detail))),
        };
        items.push(Answer { reference, done, error });
    }
    events.extend(also);
    let proof = call.log().record_all(events).await;
    // The answer is made only once the proof is there: without it no plaintext is even encoded.
    let answer =
        if proof.is_ok() { Reply::json(&Answers { items }) } else { Err(Refusal::internal()) };
    Proven::new(proof, answer, call.ids.request.as_str())
}

/// Answers a request of which no item was worked on.
pub(super) async fn answer_refused(call: &Call<'_>, client: &Client, refusal: Refusal) -> Proven {
    let proof = call.log().record(Event::Item(unnamed(call, client, &refusal))).await;
    Proven::new(proof, Err(refusal), call.ids.request.as_str())
}

/// 1 to [`limits::BATCH_ITEMS`] items.
pub(super) fn check_count(items: usize) -> Result<(), Refusal> {
    if (1..=limits::BATCH_ITEMS).contains(&items) { Ok(()) } else { Err(Code::TooManyItems.into()) }
}

/// The operation as records name it.
pub(super) const fn recorded(operation: Asked) -> Operation {
    match operation {
        Asked::Encrypt => Operation::Encrypt,
        Asked::Decrypt => Operation::Decrypt,
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        let refusal = Self::from(failed.code);
        match failed.detail {
            Some(detail) => refusal.with_detail(detail),
            None => refusal,
        }
    }
}
