//! The one encoding of a bundle's body: u16 format version, then sections by ascending id, each
//! `id u16, version u16, length u32` (big-endian) and that many bytes of postcard.
//! A body has exactly one encoding: whatever decodes encodes to the same bytes again.

use std::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bundle::{Bundle, error::BodyError},
    digest::{Digest, tagged},
};

/// Format version of the body.
pub const FORMAT: u16 = 1;

/// Sections of this format by id, with the version each is written in.
const SECTIONS: [(u16, u16, &str); 7] = [
    (1, 1, "site"),
    (2, 1, "images"),
    (3, 1, "hosts"),
    (4, 1, "service"),
    (5, 1, "root"),
    (6, 1, "audit"),
    // Left out where it is empty.
    (7, 1, "expected"),
];

impl Bundle {
    /// Its bytes: what signers sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FORMAT.to_be_bytes().to_vec();
        let contents = [
            Some(postcard_of(&self.site)),
            Some(postcard_of(&self.images)),
            Some(postcard_of(&self.hosts)),
            Some(postcard_of(&self.service)),
            Some(postcard_of(&self.root)),
            Some(postcard_of(&self.audit)),
            (!self.expected.is_empty()).then(|| postcard_of(&self.expected)),
        ];
        for ((id, version, _), content) in SECTIONS.iter().zip(contents) {
            let Some(content) = content else { continue };
            let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&version.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&content);
        }
        out
    }

    /// Reads a body and checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order version, sections, values, tables.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut rest = bytes;
        let found = u16::from_be_bytes(take(&mut rest, "the version")?);
        if found != FORMAT {
            return Err(BodyError::UnknownVersion { what: "the body", expected: FORMAT, found });
        }
        let mut contents: [Option<&[u8]>; SECTIONS.len()] = [None; SECTIONS.len()];
        let mut last = 0;
        while !rest.is_empty() {
            let id = u16::from_be_bytes(take(&mut rest, "a section's header")?);
            let version = u16::from_be_bytes(take(&mut rest, "a section's header")?);
            let length = u32::from_be_bytes(take(&mut rest, "a section's header")?);
            let known = SECTIONS.iter().position(|(known, ..)| *known == id);
            let place = known.ok_or(BodyError::UnknownSection(id))?;
            if id < last {
                return Err(BodyError::DescendingSection(id));
            }
            if id == last {
                return Err(BodyError::DuplicateSection(id));
            }
            last = id;
            let (_, expected, what) = SECTIONS[place];
            if version != expected {
                return Err(BodyError::UnknownVersion { what, expected, found: version });
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (content, after) =
                rest.split_at_checked(length).ok_or(BodyError::Truncated(what))?;
            contents[place] = Some(content);
            rest = after;
        }
        let bundle = Self {
            site: value(&contents, 0)?,
            images: value(&contents, 1)?,
            hosts: value(&contents, 2)?,
            service: value(&contents, 3)?,
            root: value(&contents, 4)?,
            audit: value(&contents, 5)?,
            expected: optional(&contents, 6)?,
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// Its digest: what quotes, sealed roots and logs name. Never covers signatures.
    #[must_use]
    pub fn digest(&self) -> Digest {
        body_digest(&self.encode())
    }

    /// Digest of the root section alone: while it stays, shares that were sent stay valid.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        tagged("root-section", &[&postcard_of(&self.root)])
    }
}

/// Digest of an encoded body.
#[must_use]
pub fn body_digest(body: &[u8]) -> Digest {
    tagged("bundle", &[body])
}

fn postcard_of(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("sections hold only what postcard can write, in memory")
}

fn take<const N: usize>(rest: &mut &[u8], what: &'static str) -> Result<[u8; N], BodyError> {
    let (taken, after) = rest.split_first_chunk().ok_or(BodyError::Truncated(what))?;
    *rest = after;
    Ok(*taken)
}

/// A table that is left out where it is empty: an empty one has no other encoding.
fn optional<T: Serialize + DeserializeOwned>(
    contents: &[Option<&[u8]>; SECTIONS.len()],
    place: usize,
) -> Result<Vec<T>, BodyError> {
    if contents[place].is_none() {
        return Ok(Vec::new());
    }
    let table: Vec<T> = value(contents, place)?;
    if table.is_empty() { Err(BodyError::NotCanonical(SECTIONS[place].2)) } else { Ok(table) }
}

fn value<T: Serialize + DeserializeOwned>(
    contents: &[Option<&[u8]>; SECTIONS.len()],
    place: usize,
) -> Result<T, BodyError> {
    let (_, _, what) = SECTIONS[place];
    let content = contents[place].ok_or(BodyError::MissingSection(what))?;
    let (value, rest) = postcard::take_from_bytes::<T>(content).map_err(|error| match error {
        postcard::Error::DeserializeUnexpectedEnd => BodyError::Truncated(what),
        // The only errors our own types raise: a full table, a name that is too long or none.
        postcard::Error::SerdeDeCustom => BodyError::BeyondCapacity(what),
        _ => BodyError::Malformed(what),
    })?;
    if !rest.is_empty() {
        return Err(BodyError::TrailingBytes(what));
    }
    if postcard_of(&value) != content {
        return Err(BodyError::NotCanonical(what));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
