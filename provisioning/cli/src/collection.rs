//! What an auditor keeps of one log: its blocks, the newest checkpoint that they were verified
//! against, and the key that signs it, learned once from a quote. Files, one folder a log:
//! `DIR/NAMESPACE/HOST/LOG/{key, checkpoint, blocks/NNNNNNNN.block}`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use casemate_formats::{
    api::Block,
    audit::{
        block,
        checkpoint::{self, Checkpoint},
        tree::Frontier,
    },
    code::Code,
    digest::Digest,
};

use crate::output::Failure;

/// Bytes of a key or checkpoint file at most.
const SMALL: usize = checkpoint::NOTE_BYTES;

/// A collected log. Everything below [`Collection::size`] was verified.
pub struct Collection {
    folder: PathBuf,
    origin: String,
    key: Digest,
    verified: Frontier,
}

impl Collection {
    /// Opens the folder of a log, making it when it is new. Reads and verifies what is there.
    ///
    /// # Errors
    /// [`Code::AuditKey`]: another key than before. [`Code::AuditMismatch`]: the files were changed.
    pub fn open(directory: &Path, origin: &str, key: Digest) -> Result<Self, Failure> {
        let plain = origin.split('/').count() == 3
            && origin.split('/').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        if !plain {
            return Err(Failure::refused("audit-origin", "this is no origin of a log")
                .expected("namespace/host/log id")
                .found(origin));
        }
        let folder = directory.join(origin);
        let blocks = folder.join("blocks");
        fs::create_dir_all(&blocks).map_err(|error| Failure::file(&blocks, &error))?;
        let key_file = folder.join("key");
        if key_file.exists() {
            let known = read_key(&key_file)?;
            if known != key {
                return Err(Failure::from(Code::AuditKey).expected(known).found(key));
            }
        } else {
            replace(&key_file, format!("{key}\n").as_bytes())?;
        }
        Self::read(folder, origin.to_owned(), key)
    }

    /// Reads and verifies a folder offline, by the key that is in it.
    ///
    /// # Errors
    /// Files are missing; [`Code::AuditMismatch`].
    pub fn verify(folder: &Path) -> Result<Self, Failure> {
        let key = read_key(&folder.join("key"))?;
        let names: Vec<String> = folder
            .components()
            .rev()
            .take(3)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let origin = names.into_iter().rev().collect::<Vec<_>>().join("/");
        Self::read(folder.to_owned(), origin, key)
    }

    fn read(folder: PathBuf, origin: String, key: Digest) -> Result<Self, Failure> {
        let mut collection = Self { folder, origin, key, verified: Frontier::new() };
        let file = collection.folder.join("checkpoint");
        if !file.exists() {
            return Ok(collection);
        }
        let note = read_small(&file)?;
        let signed = collection.signed(&note)?;
        let mut frontier = Frontier::new();
        for number in 0..signed.size {
            frontier.push(block::leaf(&collection.block(number)?));
        }
        collection.agree(&frontier, &signed)?;
        collection.verified = frontier;
        Ok(collection)
    }

    /// Verified blocks.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.verified.size()
    }

    /// `namespace/host/log id`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Records of a collected block.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn block(&self, number: u64) -> Result<Vec<u8>, Failure> {
        let path = self.path(number);
        fs::read(&path).map_err(|error| Failure::file(&path, &error))
    }

    /// A checkpoint of this log; it must not fall behind what was verified.
    ///
    /// # Errors
    /// [`Code::AuditMismatch`]: not signed by this log. [`Code::AuditShrunk`].
    pub fn next_checkpoint(&self, note: &[u8]) -> Result<Checkpoint, Failure> {
        let signed = self.signed(note)?;
        if signed.size < self.size() {
            return Err(Failure::from(Code::AuditShrunk).expected(self.size()).found(signed.size));
        }
        Ok(signed)
    }

    /// Extends the collection to exactly `signed` with what `fetch(from)` brings, block by block, and
    /// stores the note only after the tree agrees.
    ///
    /// # Errors
    /// [`Code::AuditMismatch`]; `fetch`'s own.
    pub fn extend(
        &mut self,
        note: &[u8],
        signed: &Checkpoint,
        mut fetch: impl FnMut(u64) -> Result<Vec<Block>, Failure>,
    ) -> Result<(), Failure> {
        let mut frontier = self.verified.clone();
        while frontier.size() < signed.size {
            let before = frontier.size();
            for block in fetch(before)? {
                if frontier.size() == signed.size {
                    break;
                }
                if block.number != frontier.size() {
                    return Err(Failure::from(Code::AuditMismatch)
                        .expected(format_args!("block {}", frontier.size()))
                        .found(format_args!("block {}", block.number)));
                }
                replace(&self.path(block.number), &block.records)?;
                frontier.push(block::leaf(&block.records));
            }
            if frontier.size() == before {
                return Err(Failure::from(Code::AuditMismatch)
                    .expected(format_args!("{} blocks", signed.size))
                    .found(format_args!("{before} blocks")));
            }
        }
        self.agree(&frontier, signed)?;
        replace(&self.folder.join("checkpoint"), note)?;
        self.verified = frontier;
        Ok(())
    }

    fn signed(&self, note: &[u8]) -> Result<Checkpoint, Failure> {
        let text = std::str::from_utf8(note).unwrap_or_default();
        checkpoint::verify(text, &self.origin, &self.key.0).map_err(|error| {
            Failure::from(Code::AuditMismatch)
                .expected(format_args!("a checkpoint of {} signed by {}", self.origin, self.key))
                .found(error)
        })
    }

    fn agree(&self, frontier: &Frontier, signed: &Checkpoint) -> Result<(), Failure> {
        let root = frontier.root();
        if (frontier.size(), root) == (signed.size, signed.root) {
            return Ok(());
        }
        Err(Failure::from(Code::AuditMismatch)
            .expected(format_args!("{} blocks of root {}", signed.size, signed.root))
            .found(format_args!(
                "{} blocks of root {root} in {}",
                frontier.size(),
                self.folder.display()
            )))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join("blocks").join(format!("{number:08}.block"))
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    if bytes.len() > SMALL {
        return Err(Failure::environment("file", format!("{} is too long", path.display())));
    }
    Ok(bytes)
}

fn read_key(path: &Path) -> Result<Digest, Failure> {
    let bytes = read_small(path)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    Digest::parse(text.trim()).ok_or_else(|| {
        Failure::environment("file", format!("{} is no checkpoint key", path.display()))
            .expected("64 hex digits")
    })
}

/// Writes a file as a whole: a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| Failure::file(path, &error))
}

#[cfg(test)]
mod tests;
