//! The bundle: everything that can be configured on a box, in one body signed by m of n operators.

pub mod body;
mod check;
pub mod envelope;
pub mod error;
pub mod signature;
#[cfg(feature = "sign")]
pub mod source;
pub mod sshsig;
mod wire;

pub use body::Bundle;
pub use envelope::Envelope;
pub use error::{BodyError, BundleError};
pub use signature::Verified;
