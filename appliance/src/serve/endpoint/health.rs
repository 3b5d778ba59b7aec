//! `GET /livez`: the process answers. `GET /readyz`: whether values can be encrypted and decrypted
//! now, and what else is not as it should be. 503 for the first alone.

use casemate_core::phase::Phase;
use casemate_formats::{api::Health, code::Code};

use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

/// A clock before the bundle in force was issued cannot be right.
const CLOCK: &str = "clock";
/// Unacknowledged blocks fill the ring past the warning level.
const AUDIT_FILL: &str = "audit-fill";
/// The running image is not committed yet.
const TRIAL: &str = "trial";
/// The log on this disk is older than the TPM says: reads stay closed.
const ROLLED_BACK: &str = "state-rolled-back";

pub(in crate::serve) fn live(call: &Call<'_>) -> Result<Reply, Refusal> {
    let phase = call.now.phase.word().to_owned();
    Reply::json(&Health { phase, ready: call.now.is_serving(), reasons: Vec::new() })
}

pub(in crate::serve) fn ready(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log().health();
    let mut against = Vec::new();
    match call.now.phase {
        Phase::Unprovisioned => against.push(Phase::Unprovisioned.word()),
        Phase::Locked(reason) => against.push(reason.name()),
        Phase::Operational if !call.now.is_serving() || !log.available => {
            against.push(Code::AuditUnavailable.slug());
        }
        Phase::Operational => {}
    }
    if log.rolled_back {
        against.push(ROLLED_BACK);
    }
    let ready = against.is_empty();
    let mut reasons = against;
    if log.warning {
        reasons.push(AUDIT_FILL);
    }
    if call.house.on_trial() {
        reasons.push(TRIAL);
    }
    if !call.house.clock_is_believable() {
        reasons.push(CLOCK);
    }
    let health = Health {
        phase: call.now.phase.word().to_owned(),
        ready,
        reasons: reasons.into_iter().map(str::to_owned).collect(),
    };
    Reply::json_status(if ready { 200 } else { 503 }, &health)
}
