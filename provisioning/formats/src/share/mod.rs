//! Shares of the root: split k of n, encrypted to custodians, and sent back to a boot.

pub mod age;
pub mod seal;
pub mod split;
