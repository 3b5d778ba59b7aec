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
    let house = Arc::clone(call.house);
    // A root that was made is recorded even when its caller hangs up.
    let made = tokio::spawn(async move {
        let life = Arc::clone(&house);
        let answer = house.gate.tpm(move || life.life().genesis()).await??;
        let event = Event::Genesis {
            generation: answer.generation,
            split: answer.split,
            fingerprint: answer.fingerprint,
        };
        house.log.record(event).await?;
        Reply::json(&answer)
    });
    made.await.map_err(|_| Refusal::internal())?
}
