//! What box and workstation must agree on: every byte format, digest and signature of Casemate.
//! Pure: bytes come in, values go out. No socket, file, clock, TPM or randomness of its own.

#![forbid(unsafe_code)]

pub mod anchors;
pub mod api;
pub mod audit;
pub mod bundle;
pub mod code;
pub mod digest;
pub mod efi;
pub mod genesis;
pub mod limits;
pub mod manifest;
pub mod measure;
pub mod request;
pub mod share;
pub mod state;

#[cfg(test)]
mod golden;
