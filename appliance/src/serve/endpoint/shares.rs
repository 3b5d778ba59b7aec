//! `POST /v1/shares`: custodians' shares, or the root that another box forwards; each authenticates
//! itself by what it opens to, whoever brings it.

use std::sync::Arc;

use casemate_formats::{
    api::{self, RefusedShare, SharesTaken},
    audit::record::{Event, Slug},
    code::Code,
    share::Message,
};

use super::parse;
use crate::{
    audit::AuditUnavailable,
    life::{Brought, Refused, Taken},
    reply::{Refusal, Reply},
    serve::{House, routes::Call},
};

pub(in crate::serve) async fn post(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let api::Shares { messages } = parse(body)?;
    if messages.is_empty() {
        return Err(Code::MalformedRequest.into());
    }
    let (house, place) = (Arc::clone(call.house), call.place.clone());
    // A root that has come in is recorded even when its caller hangs up.
    let taken = tokio::spawn(async move {
        let _place = place;
        take(&house, messages).await
    });
    taken.await.map_err(|_| Refusal::internal())?
}

async fn take(house: &Arc<House>, messages: Vec<Message>) -> Result<Reply, Refusal> {
    let taking = Arc::clone(house);
    // The TPM and the disk block.
    let (taken, answer) = house.gate.tpm(move || take_blocking(&taking, &messages)).await??;
    for refused in &taken.refused {
        house.log.count(refused.code.slug());
    }
    note(house, &taken).await?;
    Reply::json(&answer)
}

fn take_blocking(house: &House, messages: &[Message]) -> Result<(Taken, SharesTaken), Refused> {
    let mut life = house.life();
    let taken = life.take(messages)?;
    if taken.entered.is_some() {
        house.refresh(&life);
    }
    let refused = taken.refused.iter().map(|refused| RefusedShare {
        index: refused.index,
        commitment: refused.commitment,
        code: refused.code.slug().to_owned(),
    });
    let answer = SharesTaken {
        held: u8::try_from(taken.held).unwrap_or(u8::MAX),
        needed: taken.needed,
        phase: life.phase().word().to_owned(),
        refused: refused.collect(),
    };
    Ok((taken, answer))
}

async fn note(house: &House, taken: &Taken) -> Result<(), AuditUnavailable> {
    let (generation, pending) = (taken.generation, taken.pending);
    match taken.entered {
        Some(brought) => {
            let by = Slug::fixed(match brought {
                Brought::Shares => "shares",
                Brought::Forward => "forward",
            });
            house.log.record(Event::RootBrought { by, generation, pending }).await?;
            let phase = Slug::fixed(house.snapshot().phase.word());
            house.log.record(Event::Phase { phase, reason: None }).await?;
        }
        None if pending => {
            house.log.record(Event::PendingBrought { generation }).await?;
        }
        None => {}
    }
    Ok(())
}
