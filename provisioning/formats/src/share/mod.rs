//! Shares of the root: split k of n, encrypted to custodians, and sent back to a boot.

pub mod age;
#[cfg(feature = "sign")]
pub mod exchange;
pub mod file;
pub mod message;
pub mod seal;
pub mod split;

pub use file::ShareFile;
pub use message::Message;
pub use split::Share;
