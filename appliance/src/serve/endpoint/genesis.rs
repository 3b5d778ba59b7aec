//! `POST /v1/genesis`: makes or re-shares the root that the bundle in force asks for.

use std::sync::Arc;

use casemate_formats::{audit::record::Event, code::Code};

use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

pub(in crate::serve) async fn post(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    if !matches!(body, b"" | b"{}") {
        return Err(Code::MalformedRequest.into());
    }
    let _job = call.house.gate.tpm().await.ok_or(Code::ReducedCapacity)?;
    let house = Arc::clone(call.house);
    let made = tokio::task::spawn_blocking(move || house.life().genesis());
    let answer = made.await.map_err(|_| Refusal::internal())??;
    call.log()
        .record(Event::Genesis {
            generation: answer.generation,
            split: answer.split,
            fingerprint: answer.fingerprint,
        })
        .await?;
    Reply::json(&answer)
}
