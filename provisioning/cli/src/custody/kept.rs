//! A custodian's share file: opened, and written again with the newest bundle and the anchors that its
//! custodian believes. The earlier file stays until the new one is durable.

use std::path::{Path, PathBuf};

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Envelope,
        body::{Custodian, Recipient},
    },
    share::{Share, ShareFile, age},
};
use getrandom::{SysRng, rand_core::UnwrapErr};

use super::Age;
use crate::{
    output::Failure,
    site::{Written, read_anchors, read_bounded, write},
};

/// Bytes of a share file: a bundle, anchors, and what age adds.
const MAX_BYTES: usize = 1024 * 1024;

/// An open share file. Holds the share: neither Clone nor Debug.
pub struct Kept {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub file: ShareFile,
}

impl Kept {
    /// Decrypts a share file.
    ///
    /// # Errors
    /// It does not open with this identity, or is none.
    pub fn open(path: &Path, age: &Age) -> Result<Self, Failure> {
        let bytes = read_bounded(path, MAX_BYTES)?;
        let plaintext = age.open(path, &bytes)?;
        let file = ShareFile::decode(&plaintext).map_err(|error| {
            Failure::refused("share-malformed", format!("{}: {error}", path.display()))
                .next("take an earlier copy of your share file")
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The anchors that its custodian believes: those of the file, or, for one that a box wrote, those
    /// that are given now.
    ///
    /// # Errors
    /// Neither; or others are given than stand in the file.
    pub fn anchors(&self, given: Option<&Path>) -> Result<Anchors, Failure> {
        let given = given.map(read_anchors).transpose()?;
        let pinned = match self.file.anchors.as_slice() {
            [] => None,
            bytes => Some(Anchors::decode(bytes).map_err(|error| {
                Failure::refused("share-malformed", error.to_string())
                    .next("take an earlier copy of your share file")
            })?),
        };
        match (pinned, given) {
            (Some(pinned), Some(given)) if pinned != given => {
                Err(super::review::anchors_changed(&pinned, &given))
            }
            (Some(anchors), _) | (None, Some(anchors)) => Ok(anchors),
            (None, None) => Err(Failure::environment(
                "no-anchors",
                "this share file does not say whom its custodian believes",
            )
            .expected("--anchors FILE, once: the site's anchors from somebody you trust")
            .next("they lie in the site's directory and beside every image")),
        }
    }

    /// The newest bundle that its custodian saw; it was verified when it was put in.
    ///
    /// # Errors
    /// It is damaged.
    pub fn seen(&self) -> Result<Option<Bundle>, Failure> {
        if self.file.bundle.is_empty() {
            return Ok(None);
        }
        let read = Envelope::parse(&self.file.bundle).and_then(|e| Ok(Bundle::decode(&e.body)?));
        read.map(Some).map_err(|error| {
            Failure::refused("share-malformed", format!("the bundle in it: {error}"))
                .next("take an earlier copy of your share file")
        })
    }

    /// Whose share it is, according to a bundle that has its split in force or asks for it.
    #[must_use]
    pub fn custodian<'a>(&self, bundle: &'a Bundle) -> Option<&'a Custodian> {
        let root = &bundle.root;
        let of_this = (self.file.generation, self.file.split);
        let established = root.established.as_ref().map(|known| (known.generation, root.split));
        let asked = root.asked().filter(|asked| (asked.generation, asked.split) == of_this);
        let all = match (established == Some(of_this), asked) {
            (true, _) => root.custodians.as_slice(),
            (false, Some(asked)) => asked.custodians,
            (false, None) => return None,
        };
        all.get(usize::from(self.file.share.index()).checked_sub(1)?)
    }

    /// A second copy of the share, to be sealed to a boot.
    ///
    /// # Errors
    /// None that can happen to a share that was read.
    pub fn expose_share(&self) -> Result<Share, Failure> {
        Share::from_bytes(self.file.share.expose_bytes())
            .map_err(|error| Failure::refused("share-malformed", error.to_string()))
    }

    /// Writes it again, encrypted to `recipient`. Durable when it returns.
    ///
    /// # Errors
    /// The file cannot be written: the earlier one is untouched then.
    pub fn write(&self, recipient: &Recipient) -> Result<Written, Failure> {
        let Recipient::AgeX25519(recipient) = recipient;
        let mut rng = UnwrapErr(SysRng);
        let encrypted = age::encrypt(recipient, &self.file.expose_encoded(), &mut rng)
            .map_err(|error| Failure::refused("recipient", error.to_string()))?;
        write(&self.path, &encrypted)
    }
}
