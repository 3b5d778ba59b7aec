//! Tests across rooms: what they share.

pub mod swtpm;
pub mod tpm_proxy;
