//! What the appliance decides, pure: routes, policy, keyring, tokens, slots, root. Time, bytes and
//! randomness come in, values go out; no TSS, socket, disk or clock.

#![forbid(unsafe_code)]

pub mod keyring;
pub mod overlap;
pub mod phase;
pub mod policy;
pub mod root;
pub mod routes;
pub mod slots;
pub mod update;
pub mod x509;

#[cfg(test)]
mod fixture;
