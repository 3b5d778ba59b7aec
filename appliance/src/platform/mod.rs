//! The machine under PID 1: console, watchdog, firmware variables, disks, network, clock, power.
//! What goes on after boot lives here; what happens once, in order, lives in `boot`.

pub mod clock;
pub mod console;
pub mod disk;
pub mod efi;
pub mod memory;
pub mod network;
pub mod power;
mod raw;
pub mod sandbox;
pub mod watchdog;
