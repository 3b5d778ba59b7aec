//! The settings under which a client last authenticated, kept on the disk under a MAC of the root.

use casemate_core::root::Purpose;
use casemate_formats::{
    bundle::body::Label,
    state::{Reach, reach},
};
use zeroize::Zeroizing;

use super::Life;
use crate::state::StateError;

impl Life {
    /// What was proven last; `None`: nothing that this root vouches for, or the root is not open.
    #[must_use]
    pub fn proven(&self) -> Option<Reach> {
        let unit = self.state.reach().ok()?;
        let (host, key) = self.reach_key(reach::generation(&unit)?)?;
        reach::decode(&unit, &host, &key)
    }

    /// Keeps what was proven, where the root is open and the disk does not say so already.
    ///
    /// # Errors
    /// The disk's.
    pub fn prove(&self, proven: &Reach) -> Result<(), StateError> {
        let generation = self.chain.as_ref().map_or(0, |chain| chain.generation());
        let Some((host, key)) = self.reach_key(generation) else { return Ok(()) };
        if self.proven().as_ref() == Some(proven) {
            return Ok(());
        }
        self.state.write_reach(&reach::encode(proven, &host, generation, &key))
    }

    fn reach_key(&self, generation: u32) -> Option<(Label, Zeroizing<[u8; 32]>)> {
        let key = self.chain.as_ref()?.derive(generation, Purpose::Reach, &[])?;
        Some((self.host()?.name.clone(), key))
    }
}
