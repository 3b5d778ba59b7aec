//! Builds the image of an appliance: fetches locked sources, builds TSS, kernel and firmware, assembles
//! and signs the UKI, lays it on a disk, and says what it will measure. `main.rs` is the command line.

pub mod apt;
pub mod cache;
pub mod disk;
pub mod fat;
pub mod firmware;
pub mod flash;
pub mod initramfs;
pub mod kernel;
pub mod lock;
pub mod manifest;
pub mod reproduce;
pub mod run;
pub mod sbom;
pub mod sign;
pub mod sources;
pub mod tss;
pub mod uki;
