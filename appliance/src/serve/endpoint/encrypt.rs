//! `POST /v1/encrypt` and `/v1/encrypt/batch`: values become tokens.

use casemate_core::{
    keyring::{Keyrings, NONCE_BYTES},
    policy::{Operation, Policy, Refusal as Decision},
};
use casemate_formats::{
    api,
    code::{Cause, Code},
};

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
    let done = parse::<api::Encrypt>(body).and_then(|item| Ok(Work::of(call, client)?.item(&item)));
    match done {
        Ok(done) => items::answer_one(call, done, None).await,
        Err(refusal) => items::answer_refused(call, client, refusal).await,
    }
}

pub(in crate::serve) async fn batch(call: &Call<'_>, body: &[u8]) -> Proven {
    let Some(client) = call.client else { return Proven::nobody(call.ids.request.as_str()) };
    let done = parse::<api::Batch<api::Encrypt>>(body).and_then(|batch| {
        items::check_count(batch.items.len())?;
        let work = Work::of(call, client)?;
        let done = batch.items.into_iter().map(|item| {
            let done = work.item(&item);
            (item.reference, done)
        });
        Ok(done.collect())
    });
    match done {
        Ok(done) => items::answer_batch(call, done, None).await,
        Err(refusal) => items::answer_refused(call, client, refusal).await,
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
        Ok(Self { call, client, policy, keyrings })
    }

    fn item(&self, asked: &api::Encrypt) -> Done<api::Encrypted> {
        let operation = Operation::Encrypt;
        let mut record = items::blank(self.call, self.client, items::recorded(operation));
        record.keyring = items::named(&asked.keyring);
        let permit = self.policy.decide(self.client.id, operation, &asked.keyring, &asked.context);
        let result = permit.and_then(|permit| {
            items::describe(self.call, &mut record, &permit);
            let mut nonce = [0; NONCE_BYTES];
            aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Cause::SelfCheck)?;
            let day = self.call.house.day();
            let token = self.keyrings.encrypt(&permit, &asked.plaintext, nonce, day)?;
            record.version = Some(token.version());
            record.day = Some(token.day().0);
            record.bytes = u32::try_from(asked.plaintext.len()).unwrap_or(u32::MAX);
            Ok::<_, Decision>(api::Encrypted { token: token.encode() })
        });
        Done::new(record, result)
    }
}
