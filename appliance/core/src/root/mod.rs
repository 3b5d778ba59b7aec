//! The root key: 32 secret bytes from which everything else is derived, and the chain that leads
//! from the newest generation to every older one. Randomness comes in as an argument.

use casemate_formats::{
    bundle::body::{Established, Label},
    digest::{self, Digest},
    limits,
};
use zeroize::Zeroizing;

mod sealed;
mod wrap;

pub use sealed::{Sealed, SealedError};
pub use wrap::{NONCE_BYTES, Wrapped, unwrap, wrap};

/// A root key. Wiped on drop; never copied, compared or shown.
pub struct Root(Zeroizing<[u8; 32]>);

impl Root {
    /// A root of 32 bytes from the machine's generator, or from where one was kept (seal, shares).
    #[must_use]
    pub fn from_random(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, for those who keep them: sealing, splitting, forwarding.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same root once more, where two owners must outlive each other (slot content and chain).
    #[must_use]
    pub fn expose_copy(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What a key is for: its domain tag (decision 6). One key, one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A keyring's version: parts (keyring, version).
    Key,
    /// Blind indexes: parts (keyring, column, version).
    Index,
    /// Seed of the site's CA.
    Ca,
    /// Seed of a log's checkpoint key: parts (log id).
    Checkpoint,
    /// Audit blocks: parts (log id).
    Block,
    /// Guessable values in audit records.
    Subject,
    /// MAC of locks between boxes.
    Lock,
    /// MAC of the settings that a client last authenticated under.
    Reach,
}

impl Purpose {
    /// The `<what>` of its domain tag.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Index => "index",
            Self::Ca => "ca",
            Self::Checkpoint => "checkpoint",
            Self::Block => "block",
            Self::Subject => "subject",
            Self::Lock => "lock",
            Self::Reach => "reach",
        }
    }
}

/// What a bundle says about a root, and everyone may know: HKDF of it with namespace and generation.
#[must_use]
pub fn fingerprint(root: &Root, generation: u32, namespace: &Label) -> Digest {
    let parts: [&[u8]; 2] = [namespace.as_str().as_bytes(), &generation.to_be_bytes()];
    Digest(*digest::derive(root.expose_bytes(), "fingerprint", &parts))
}

/// The chain of roots does not lead from the newest to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootChain {
    /// The newest root is not the one whose fingerprint the bundle has.
    #[error("the root held is not generation {0} of the bundle")]
    Fingerprint(u32),
    /// A wrapped root does not open, or is not the one it says.
    #[error("the root of generation {0} does not open from its successor")]
    Wrapped(u32),
    /// The bundle has not exactly one wrapped root for each older generation.
    #[error("the bundle has not one wrapped root for each older generation")]
    Length,
}

/// Every generation's root, opened from the newest and checked.
pub struct Chain {
    /// Generation g is `roots[g - 1]`.
    roots: Vec<Root>,
}

impl Chain {
    /// Opens every older root from `newest`, which must be the one that `established` names.
    ///
    /// # Errors
    /// [`RootChain`]: which link does not hold.
    pub fn open(
        newest: Root,
        established: &Established,
        namespace: &Label,
    ) -> Result<Self, RootChain> {
        let generation = established.generation;
        let older = usize::try_from(generation).ok().and_then(|g| g.checked_sub(1));
        let older = older.filter(|n| *n < limits::GENERATIONS).ok_or(RootChain::Length)?;
        if established.wrapped.len() != older {
            return Err(RootChain::Length);
        }
        if fingerprint(&newest, generation, namespace) != established.fingerprint {
            return Err(RootChain::Fingerprint(generation));
        }
        let mut roots = vec![newest];
        for (wrapped, generation) in established.wrapped.iter().zip(1..generation).rev() {
            let newer = roots.last().expect("starts with the newest");
            let root = unwrap(wrapped, newer, generation, namespace)
                .ok_or(RootChain::Wrapped(generation))?;
            roots.push(root);
        }
        roots.reverse();
        Ok(Self { roots })
    }

    /// Number of the newest generation.
    #[must_use]
    pub fn generation(&self) -> u32 {
        u32::try_from(self.roots.len()).unwrap_or(u32::MAX)
    }

    /// The newest root, for those who seal, share or forward it.
    #[must_use]
    pub fn newest(&self) -> &Root {
        self.roots.last().expect("a chain has at least the newest root")
    }

    /// A key of `generation` for one purpose; `None`: there is no such generation.
    #[must_use]
    pub fn derive(
        &self,
        generation: u32,
        purpose: Purpose,
        parts: &[&[u8]],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let index = usize::try_from(generation).ok()?.checked_sub(1)?;
        let root = self.roots.get(index)?;
        Some(digest::derive(root.expose_bytes(), purpose.tag(), parts))
    }

    /// Ed25519 seed of a generation's CA (decision 7).
    #[must_use]
    pub fn ca_seed(&self, generation: u32) -> Option<Zeroizing<[u8; 32]>> {
        self.derive(generation, Purpose::Ca, &[])
    }
}

/// Ed25519 seed of the CA of a root that is not yet in a chain (genesis).
#[must_use]
pub fn ca_seed(root: &Root) -> Zeroizing<[u8; 32]> {
    digest::derive(root.expose_bytes(), Purpose::Ca.tag(), &[])
}

#[cfg(test)]
mod tests;
