//! Tests across rooms: what they share.

pub mod firmware_log;
pub mod swtpm;
pub mod tpm_proxy;
