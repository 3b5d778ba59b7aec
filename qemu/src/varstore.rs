//! OVMF's variable store as a file: what a tester with a flash programmer could change. Used to make
//! machines that the appliance must refuse. (EDK2, AUTHENTICATED_VARIABLE_HEADER: 60 bytes.)

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// Bytes of a variable's header before its name.
const HEADER: usize = 60;
/// StartId of every variable.
const START: [u8; 2] = [0xaa, 0x55];
/// State of a variable that counts.
const ADDED: u8 = 0x3f;
/// The same with VAR_DELETED cleared: it no longer counts.
const DELETED: u8 = 0x3d;

/// EFI_TIME of an added variable: the first of January 2026.
const TIMESTAMP: [u8; 16] = [0xea, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A variable store in memory.
pub struct VarStore {
    bytes: Vec<u8>,
}

impl VarStore {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("{}: cannot read", path.display()))?;
        Ok(Self { bytes })
    }

    /// Writes it back.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.bytes).with_context(|| format!("{}: cannot write", path.display()))
    }

    /// The data of variable `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.find(name)?;
        self.bytes.get(found.data..found.data + found.length)
    }

    /// Deletes variable `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        let Some(found) = self.find(name) else { bail!("no variable {name} in the store") };
        self.bytes[found.header + 2] = DELETED;
        Ok(())
    }

    /// Overwrites the data of variable `name` with as many bytes.
    ///
    /// # Errors
    /// There is none of that length.
    pub fn set(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let Some(found) = self.find(name) else { bail!("no variable {name} in the store") };
        if found.length != data.len() {
            bail!("{name}: expected {} bytes, found {}", found.length, data.len());
        }
        self.bytes[found.data..found.data + found.length].copy_from_slice(data);
        Ok(())
    }

    /// Adds a variable behind the last one, as a firmware update or a signed write would.
    ///
    /// # Errors
    /// The store is full, or has no variable yet.
    pub fn add(
        &mut self,
        name: &str,
        vendor: &[u8; 16],
        attributes: u32,
        data: &[u8],
    ) -> Result<()> {
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let mut header = [START[0], START[1], ADDED, 0].to_vec();
        header.extend(attributes.to_le_bytes());
        header.extend([0; 8]); // monotonic count
        header.extend(TIMESTAMP);
        header.extend(0_u32.to_le_bytes()); // index of a public key
        header.extend(u32::try_from(name.len())?.to_le_bytes());
        header.extend(u32::try_from(data.len())?.to_le_bytes());
        header.extend(vendor);
        let variable = [&header[..], &name, data].concat();
        let at = self.end().context("expected a store with variables")?;
        let free = self.bytes.get_mut(at..at + variable.len());
        let free = free.filter(|free| free.iter().all(|byte| *byte == 0xff));
        free.context("expected room behind the last variable")?.copy_from_slice(&variable);
        Ok(())
    }

    /// Where the next variable would stand.
    fn end(&self) -> Option<usize> {
        let first = self.bytes.windows(4).position(|at| at[..2] == START && at[2] & 0xc0 == 0)?;
        let mut at = first;
        while self.bytes.get(at..at + 2)? == START {
            let word = |offset: usize| -> Option<usize> {
                let bytes = self.bytes.get(at + offset..at + offset + 4)?;
                usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
            };
            at = (at + HEADER + word(36)? + word(40)?).next_multiple_of(4);
        }
        Some(at)
    }

    fn find(&self, name: &str) -> Option<Found> {
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        (0..self.bytes.len().saturating_sub(HEADER + name.len())).step_by(4).find_map(|header| {
            let at = &self.bytes[header..];
            let word = |offset: usize| {
                at.get(offset..offset + 4)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, |b| u32::from_le_bytes(b) as usize)
            };
            let matches = at[..2] == START
                && at[2] == ADDED
                && word(36) == name.len()
                && at[HEADER..HEADER + name.len()] == *name;
            matches.then(|| Found { header, data: header + HEADER + name.len(), length: word(40) })
        })
    }
}

struct Found {
    header: usize,
    data: usize,
    length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> VarStore {
        let mut bytes = vec![0xff; 128];
        bytes[64..66].copy_from_slice(&START);
        bytes[66] = ADDED;
        bytes[64 + 36..64 + 40].copy_from_slice(&6_u32.to_le_bytes());
        bytes[64 + 40..64 + 44].copy_from_slice(&1_u32.to_le_bytes());
        bytes.splice(124.., [b'P', 0, b'K', 0, 0, 0, 7]);
        bytes.resize(256, 0xff);
        VarStore { bytes }
    }

    #[test]
    fn a_deleted_variable_is_gone_and_a_changed_one_is_changed() {
        let mut changed = store();
        assert_eq!(changed.get("PK"), Some(&[7][..]));
        changed.set("PK", &[9]).expect("there");
        assert_eq!(changed.get("PK"), Some(&[9][..]));
        assert!(changed.set("PK", &[1, 2]).is_err());
        changed.delete("PK").expect("there");
        assert_eq!(changed.get("PK"), None);
        assert!(changed.delete("PK").is_err());
    }
}
