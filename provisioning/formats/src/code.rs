//! Every stable error code in one place: what a problem document's `code` and `type` may say, the
//! HTTP status that goes with it, and who has to act.
