//! The bundle: everything that can be configured on a box, in one body signed by m of n operators.

pub mod body;
pub mod envelope;
pub mod signature;
#[cfg(feature = "sign")]
pub mod source;

pub use body::Bundle;
pub use envelope::Envelope;
pub use signature::Verified;
