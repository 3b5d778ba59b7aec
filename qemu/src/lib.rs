//! Machines for testers: an image booted by QEMU with OVMF, Secure Boot and a software TPM; the demo,
//! and the faults that drills inject.

pub mod child;
pub mod demo;
pub mod drill;
pub mod fault;
pub mod faulty;
pub mod firmware;
pub mod machine;
pub mod monitor;
pub mod partition;
pub mod people;
pub mod rebuild;
pub mod report;
pub mod runbook;
pub mod serial;
pub mod swtpm;
pub mod tools;
pub mod torn;
pub mod varstore;
pub mod world;
