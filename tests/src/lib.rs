//! Tests across rooms: what they share.

pub mod disk;
pub mod firmware_log;
pub mod log;
pub mod swtpm;
pub mod tpm_proxy;
