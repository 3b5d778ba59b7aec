//! The bundle: everything that can be configured on a box, in one body signed by m of n operators.

#[cfg(any(feature = "sign", test))]
pub mod armor;
pub mod body;
mod check;
pub mod envelope;
pub mod error;
#[cfg(test)]
pub(crate) mod example;
mod shown;
pub mod signature;
#[cfg(feature = "sign")]
pub mod source;
pub mod sshsig;
pub mod wire;

pub use body::Bundle;
pub use envelope::Envelope;
pub use error::{BodyError, BundleError};
pub use signature::Verified;
