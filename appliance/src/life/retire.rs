//! The end of what a box keeps: its host is retired, or is to keep nothing.

use super::{Life, LifeError};
use crate::tpm::Counter;

impl Life {
    /// The counter goes beyond every blob that may live: none opens ever again. Done at every boot
    /// under such a bundle, because an accept of it may have been cut short.
    pub(super) fn destroy(&self) -> Result<(), LifeError> {
        if let Some(goal) = self.view_now()?.destroy() {
            self.tpm.raise(Counter::Seal, goal)?;
        }
        Ok(())
    }
}
