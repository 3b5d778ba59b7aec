//! `POST /v1/decrypt` and `/v1/decrypt/batch`: tokens become values, once the disk knows about it.

use casemate_core::{
    keyring::{Effect, Keyrings, Token},
    policy::{OnCanary, Operation, Policy, Refusal as Decision},
};
use casemate_formats::{
    api,
    audit::record::{Event, Slug},
    code::Code,
};
use zeroize::Zeroizing;

use super::{
    items::{self, Done},
    parse,
};
use crate::{
    reply::{Proven, Refusal},
    serve::routes::{Call, Client},
};

pub(in crate::serve) async fn one(call: &Call<'_>, body: &[u8]) -> Proven {
    let Some(client) = call.client else { return Proven::nobody(call.ids.request.as_str()) };
    let done = parse::<api::Decrypt>(body).and_then(|item| Ok(Work::of(call, client)?.item(&item)));
    match done {
        Ok((done, effect)) => items::answer_one(call, done, alarm(client, effect)).await,
        Err(refusal) => items::answer_refused(call, client, refusal).await,
    }
}

pub(in crate::serve) async fn batch(call: &Call<'_>, body: &[u8]) -> Proven {
    let Some(client) = call.client else { return Proven::nobody(call.ids.request.as_str()) };
    let mut touched = Effect::None;
    let done = parse::<api::Batch<api::Decrypt>>(body).and_then(|batch| {
        items::check_count(batch.items.len())?;
        let work = Work::of(call, client)?;
        let done = batch.items.into_iter().map(|item| {
            let (done, effect) = work.item(&item);
            if effect != Effect::None {
                touched = effect;
            }
            (item.reference, done)
        });
        Ok(done.collect::<Vec<_>>())
    });
    match done {
        Ok(mut done) => {
            // A batch that holds a canary gives out no plaintext at all.
            if touched != Effect::None {
                done.iter_mut().for_each(|(_, done)| done.withhold());
            }
            items::answer_batch(call, done, alarm(client, touched)).await
        }
        Err(refusal) => items::answer_refused(call, client, refusal).await,
    }
}

fn alarm(client: &Client, effect: Effect) -> Option<Event> {
    match effect {
        Effect::None => None,
        Effect::Canary(OnCanary::Alert) => Some(Event::Alarm {
            name: Slug::fixed("canary"),
            client: Some(client.name.clone()),
            value: None,
        }),
    }
}

struct Work<'a> {
    call: &'a Call<'a>,
    client: &'a Client,
    policy: &'a Policy,
    keyrings: &'a Keyrings,
}

impl<'a> Work<'a> {
    fn of(call: &'a Call<'a>, client: &'a Client) -> Result<Self, Refusal> {
        let policy = call.now.policy.as_ref().ok_or(Code::NotOperational)?;
        let keyrings = call.now.keyrings.as_ref().ok_or(Code::AuditUnavailable)?;
        if call.log().health().rolled_back {
            return Err(Code::StateRolledBack.into());
        }
        Ok(Self { call, client, policy, keyrings })
    }

    fn item(&self, asked: &api::Decrypt) -> (Done<api::Decrypted>, Effect) {
        let operation = Operation::Decrypt;
        let mut record = items::blank(self.call, self.client, items::recorded(operation));
        let mut effect = Effect::None;
        let result = Token::parse(&asked.token).map_err(Decision::from).and_then(|token| {
            record.keyring = items::named(token.keyring());
            record.version = Some(token.version());
            let permit =
                self.policy.decide(self.client.id, operation, token.keyring(), &asked.context)?;
            items::describe(self.call, &mut record, &permit);
            record.day = Some(token.day().0);
            let opened = self.keyrings.decrypt(&permit, token);
            effect = opened.effect;
            let value = opened.outcome?;
            let plaintext = Zeroizing::new(value.expose_bytes().to_vec());
            record.bytes = u32::try_from(plaintext.len()).unwrap_or(u32::MAX);
            Ok(api::Decrypted { plaintext })
        });
        (Done::new(record, result), effect)
    }
}
