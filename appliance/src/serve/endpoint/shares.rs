//! `POST /v1/shares`: custodians' shares, or the root that another box forwards; each authenticates
//! itself by what it opens to, whoever brings it.

use casemate_formats::{api, code::Code};

use super::parse;
use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

pub(in crate::serve) async fn post(_: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let _ = parse::<api::Shares>(body)?;
    Err(Code::Internal.into())
}
