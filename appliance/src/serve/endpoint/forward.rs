//! `POST /v1/forward`: the root for another box of the same bundle, once its request is verified here.

use std::sync::Arc;

use casemate_formats::{api, audit::record::Event};

use super::parse;
use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

pub(in crate::serve) async fn post(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let asked = parse::<api::Forward>(body)?;
    let house = Arc::clone(call.house);
    // An envelope that was made is recorded even when its caller hangs up; without the record nobody
    // gets it.
    let made = tokio::spawn(async move {
        let life = Arc::clone(&house);
        // No TPM is asked, but a log to replay and a signature to check keep a thread busy.
        let (answer, host) = house.gate.tpm(move || life.life().forward(&asked)).await??;
        let (boot, pending) = (answer.message.boot, answer.pending);
        house.log.record(Event::Forwarded { host, boot, pending }).await?;
        Reply::json(&answer)
    });
    made.await.map_err(|_| Refusal::internal())?
}
