//! `POST /v1/forward`: the root for another box of the same bundle, once its request is verified here.

use casemate_formats::{api, code::Code};

use super::parse;
use crate::{
    reply::{Refusal, Reply},
    serve::routes::Call,
};

pub(in crate::serve) async fn post(_: &Call<'_>, body: &[u8]) -> Result<Reply, Refusal> {
    let _ = parse::<api::Forward>(body)?;
    Err(Code::Internal.into())
}
