//! The image as a machine: booted, provisioned, cut off, and changed in every way that it must refuse
//! by name. One machine is brought to Operational first; each test starts from a copy of it.

#![allow(clippy::unwrap_used)]

mod boots;
mod crashes;
mod disks;
mod firmware;
mod fixture;
mod memory;
mod network;
mod power;
mod tpms;
mod updates;
