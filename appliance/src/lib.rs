//! The firmware's rooms. `main.rs` tells the boot story; `tests/host` composes the same rooms
//! without PID 1.

pub mod audit;
pub mod boot;
pub mod life;
pub mod platform;
pub mod pulse;
pub mod reply;
pub mod serve;
pub mod state;
pub mod tpm;
pub mod update;
