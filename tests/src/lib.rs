//! Tests across rooms: what they share.

pub mod age;
pub mod alone;
pub mod calls;
pub mod client;
pub mod crash;
pub mod crates;
pub mod credential;
pub mod disk;
pub mod esps;
pub mod firmware_log;
pub mod host;
pub mod identity;
pub mod life;
pub mod log;
pub mod loopback;
pub mod machine;
pub mod power;
pub mod recovery;
pub mod remote;
pub mod site;
pub mod swtpm;
pub mod tpm_proxy;
pub mod whole;
pub mod wire;
