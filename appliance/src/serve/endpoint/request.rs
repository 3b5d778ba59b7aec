//! `POST /v1/request`: who this box is, what it booted, which keys it made for this boot, quoted by
//! its TPM over the asker's nonce.

use std::sync::Arc;

use casemate_formats::{
    code::Code,
    digest::{Digest, tagged},
    request::{Ask, Claims, Request},
};

use super::parse;
use crate::{
    reply::{Refusal, Reply},
    serve::{House, routes::Call},
    tpm::TpmError,
};

pub(in crate::serve) async fn post(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let ask = parse::<Ask>(body)?;
    let house = Arc::clone(call.house);
    Reply::json(&call.house.gate.tpm(move || quote(&house, &ask)).await??)
}

fn quote(house: &House, ask: &Ask) -> Result<Request, Refusal> {
    let answer = match &ask.credential {
        None => None,
        Some(credential) => {
            let secret = house.tpm.activate(credential).map_err(refusal)?;
            Some(tagged("credential", &[&secret, &ask.nonce]))
        }
    };
    // Under the life's lock: phase, bundle and keys of one moment.
    let life = house.life();
    let log = house.log.identity();
    let claims = Claims {
        phase: life.phase().word().to_owned(),
        bundle: life.bundle().map_or(Digest::ZERO, |bundle| bundle.digest()),
        image: house.boot.image,
        log_id: log.as_ref().map_or(Digest::ZERO, |log| log.log),
        checkpoint_key: log.as_ref().map_or(Digest::ZERO, |log| Digest(log.checkpoint_key)),
        hpke_key: life.hpke_key(),
        tls_key: house.tls_key.digest(),
        order_challenge: house.order_challenge,
    };
    drop(life);
    let quote = house.tpm.quote(&claims.extra_data(&ask.nonce)).map_err(refusal)?;
    let identity = house.tpm.identity();
    Ok(Request {
        nonce: ask.nonce,
        claims,
        ek_certificate: identity.ek_certificate.clone(),
        ek_public: identity.ek_public.clone(),
        ak_public: identity.ak_public.clone(),
        attest: quote.attest,
        signature: quote.signature,
        pcrs: quote.pcrs,
        event_log: house.boot.event_log.clone(),
        credential_answer: answer,
    })
}

fn refusal(error: TpmError) -> Refusal {
    match error {
        TpmError::ForeignCredential => Code::WrongCredential.into(),
        _ => Code::TpmUnavailable.into(),
    }
}
