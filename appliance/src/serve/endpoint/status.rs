//! `GET /v1/status`: where this box stands, for those who run and watch it.

use casemate_core::phase::Phase;
use casemate_formats::{api, bundle::body::Label, code::Code};

use crate::{
    platform::memory,
    reply::{Refusal, Reply},
    serve::routes::Call,
    update::Updates,
};

pub(in crate::serve) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    let bundle = call.now.bundle.as_ref().ok_or(Code::WrongPhase)?;
    let site = &bundle.bundle().site;
    let (strange, listed) = call.house.gate.count();
    let log = call.log().health();
    Reply::json(&api::Status {
        phase: call.now.phase.word().to_owned(),
        reason: match call.now.phase {
            Phase::Locked(reason) => Some(reason.name().to_owned()),
            _ => None,
        },
        namespace: site.namespace.to_string(),
        host: call.now.host.as_ref().map(Label::to_string),
        seq: site.seq,
        bundle: bundle.digest(),
        image: call.house.boot.image,
        tls_key: call.house.tls_key.digest(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: call.house.boot.clock.now().unix,
        resident_kib: memory::resident_kib(),
        connections: api::Connections { strange, listed },
        audit: api::AuditStatus {
            origin: call.log().identity().map(|log| log.origin),
            available: log.available,
            size: log.size,
            records: log.records,
            fill: log.fill,
            warning: log.warning,
            rolled_back: log.rolled_back,
        },
        update: call.house.boot.updates.as_ref().map(Updates::status).unwrap_or_default(),
    })
}
