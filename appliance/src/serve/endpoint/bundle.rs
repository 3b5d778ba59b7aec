//! `GET /v1/bundle`: the bundle in force. `POST /v1/bundle`: the next one; its body authenticates
//! itself, whoever brings it.

use std::sync::Arc;

use casemate_formats::{
    api,
    audit::record::{Event, Slug},
    bundle::Verified,
    code::Code,
    limits,
};

use crate::{
    audit::AuditUnavailable,
    life::{Accepted, Refused},
    reply::{OCTETS, Refusal, Reply},
    serve::{House, routes::Call},
};

pub(in crate::serve) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    let bundle = call.now.bundle.as_ref().ok_or(Code::WrongPhase)?;
    Ok(Reply::octets(OCTETS, Envelope(Arc::clone(bundle))))
}

/// The envelope where it stands: however many ask and do not read, it is in memory once.
struct Envelope(Arc<Verified>);

impl AsRef<[u8]> for Envelope {
    fn as_ref(&self) -> &[u8] {
        self.0.envelope()
    }
}

pub(in crate::serve) async fn post(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    if body.len() > limits::BUNDLE_BYTES {
        return Err(Code::TooLarge.into());
    }
    let (house, envelope, place) = (Arc::clone(call.house), body.to_vec(), call.place.clone());
    // An accept that has begun is recorded, and a retired box leaves, even when its caller hangs up.
    let answered = tokio::spawn(async move {
        let _place = place;
        take(&house, envelope).await
    });
    answered.await.map_err(|_| Refusal::internal())?
}

async fn take(house: &Arc<House>, envelope: Vec<u8>) -> Result<Reply, Refusal> {
    let accepting = Arc::clone(house);
    // The TPM and the disk block.
    match house.gate.tpm(move || accept(&accepting, &envelope)).await? {
        Ok((outcome, answer)) => {
            let noted = note(house, outcome, &answer).await;
            if outcome == Accepted::Retired {
                house.retire();
            }
            noted?;
            Reply::json(&answer)
        }
        Err(refused) => {
            // Anyone can send bytes: what too few signed is counted, what enough signed is noted.
            if refused.bundle.is_some_and(|(_, digest)| house.is_new_refusal(digest)) {
                let code = Slug::fixed(refused.code.slug());
                house.log.record(Event::BundleRefused { code, bundle: refused.bundle }).await?;
            }
            Err(refused.into())
        }
    }
}

async fn note(
    house: &House,
    outcome: Accepted,
    answer: &api::Accepted,
) -> Result<(), AuditUnavailable> {
    if outcome != Accepted::Again {
        let (seq, digest) = (answer.seq, answer.bundle);
        house.log.record(Event::BundleAccepted { seq, digest }).await?;
    }
    if outcome == Accepted::Entered {
        let phase = Slug::fixed(house.snapshot().phase.word());
        house.log.record(Event::Phase { phase, reason: None }).await?;
    }
    Ok(())
}

fn accept(house: &House, envelope: &[u8]) -> Result<(Accepted, api::Accepted), Refused> {
    let updates = house.boot.updates.as_ref();
    let mut life = house.life();
    let before = life.bundle();
    let outcome = life.accept(envelope)?;
    // Anyone may bring the bundle in force again: that costs no certificate and no keyring.
    if outcome != Accepted::Again || !house.snapshot().is_serving() {
        house.refresh(&life);
    }
    let (bundle, seq) = life
        .bundle()
        .map(|bundle| (bundle.digest(), bundle.bundle().site.seq))
        .ok_or(Refused { code: Code::Internal, bundle: None, detail: None })?;
    if let (Some(updates), Some(before), Some(after)) = (updates, before, life.bundle())
        && before.bundle().images != after.bundle().images
    {
        updates.listed(after.bundle().images.iter().cloned().collect());
    }
    if let (Some(updates), Some(host)) = (updates, life.host()) {
        updates.pcr7(host.pcr7.to_vec());
    }
    let outcome_word = match outcome {
        Accepted::Again => "again",
        Accepted::InForce => "in-force",
        Accepted::Entered => "entered",
        Accepted::Retired => "retired",
    };
    let phase = life.phase().word().to_owned();
    Ok((outcome, api::Accepted { bundle, seq, phase, outcome: outcome_word.to_owned() }))
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let refusal = Self::from(refused.code);
        match refused.detail {
            Some(detail) => refusal.with_detail(detail),
            None => refusal,
        }
    }
}
