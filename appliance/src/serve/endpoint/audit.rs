//! `GET /v1/audit/blocks?from=&wait=`, `GET /v1/audit/checkpoint`, `POST /v1/audit/collected`: how
//! collectors fetch the log, check it, and free its space.

use std::time::Duration;

use casemate_formats::{api, code::Code};

use super::parse;
use crate::{
    audit::ReadError,
    reply::{Refusal, Reply, TEXT},
    serve::routes::Call,
};

/// The longest a collector's question may wait: shorter than the idle time of common proxies.
const LONGEST_WAIT: Duration = Duration::from_secs(50);
/// An answer with about 1 MiB of records, as room is counted: of bodies that are held four times.
const ANSWER_BYTES: usize = 1024 * 1024;

pub(in crate::serve) async fn blocks(
    call: &Call<'_>,
    query: Option<&str>,
) -> Result<Reply, Refusal> {
    let (from, wait) = question(query.unwrap_or_default()).ok_or(Code::MalformedRequest)?;
    let origin = call.log().identity().ok_or(Code::WrongPhase)?.origin;
    if !call.log().wait_for(from, wait).await.map_err(refusal)? {
        return Reply::json(&api::Blocks { origin, blocks: Vec::new() });
    }
    // After the wait: whoever waits takes none. Before the reading: whoever reads no answer gets no more.
    let room = call.house.room.take(ANSWER_BYTES).await?;
    let blocks = call.log().blocks(from, Duration::ZERO).await.map_err(refusal)?;
    let blocks =
        blocks.into_iter().map(|block| api::Block { number: block.number, records: block.records });
    let reply = Reply::json(&api::Blocks { origin, blocks: blocks.collect() })?;
    Ok(reply.holding(Some(room)))
}

pub(in crate::serve) fn checkpoint(call: &Call<'_>) -> Result<Reply, Refusal> {
    let note = call.log().checkpoint().ok_or(Code::WrongPhase)?;
    Ok(Reply::octets(TEXT, note.into_bytes()))
}

pub(in crate::serve) async fn collected(call: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let client = call.client.ok_or(Code::NoClientCertificate)?;
    let collected = parse::<api::Collected>(body)?;
    call.log().collected(&client.name, collected.next).await.map_err(refusal)?;
    Reply::json(&collected)
}

/// `from=<block>` and, if wanted, `wait=<seconds>`; each once, nothing else.
fn question(query: &str) -> Option<(u64, Duration)> {
    let (mut from, mut wait) = (None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        let decimal = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let number = decimal.then(|| value.parse::<u64>().ok()).flatten()?;
        let place = match name {
            "from" => &mut from,
            "wait" => &mut wait,
            _ => return None,
        };
        if place.replace(number).is_some() {
            return None;
        }
    }
    Some((from?, Duration::from_secs(wait.unwrap_or(0)).min(LONGEST_WAIT)))
}

fn refusal(error: ReadError) -> Refusal {
    match error {
        ReadError::NoLog => Code::WrongPhase,
        ReadError::Gone => Code::BlockGone,
        ReadError::BeyondHead => Code::BeyondHead,
        ReadError::Damaged => Code::BlockDamaged,
        ReadError::Unavailable(_) => Code::AuditUnavailable,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_from_once_and_wait_at_most_once() {
        assert_eq!(question("from=7"), Some((7, Duration::ZERO)));
        assert_eq!(question("wait=3&from=0"), Some((0, Duration::from_secs(3))));
        assert_eq!(question("from=0&wait=9999"), Some((0, LONGEST_WAIT)));
        for wrong in
            ["", "wait=3", "from=", "from=-1", "from=+1", "from=1&from=1", "from=1&x=1", "from=1&"]
        {
            assert_eq!(question(wrong), None, "{wrong}");
        }
    }
}
