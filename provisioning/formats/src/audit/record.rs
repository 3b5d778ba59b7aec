//! Audit records: what the box notes before it answers. A typed allow-list: no plaintext, no token,
//! no secret; what could be guessed (subjects, contexts) only as a keyed hash.
//!
//! On disk and towards collectors: `u16 big-endian length, postcard bytes`, one after the other.
//! Variants and fields are only ever appended; a reader refuses what it does not know.

use heapless::String;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::body::Label,
    code::{Cause, Code},
    digest::Digest,
};

/// Bytes of a record at most, without its length prefix. The largest is a snapshot: 64 tree nodes,
/// a position of every client, and what policy adds.
pub const RECORD_BYTES: usize = 32 * 1024;

/// One record: when, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the box wrote it down.
    pub at: Stamp,
    /// What happened.
    pub event: Event,
}

/// Two clocks: the one that people read, and the one that cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Unix time in milliseconds; 0 where the box has no believable clock.
    pub unix_ms: u64,
    /// Milliseconds since this boot.
    pub monotonic_ms: u64,
}

/// A stable name out of a fixed list (`code`, phase, alarm): `[a-z0-9-]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slug(String<32>);

impl Slug {
    /// A name of `[a-z0-9-]`, 1 to 32 bytes; `None`: it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        (fits && !text.is_empty()).then(|| String::try_from(text).ok().map(Self)).flatten()
    }

    /// A name that stands in the source: anything that is not one becomes `unnamed`.
    #[must_use]
    pub fn fixed(text: &'static str) -> Self {
        Self::parse(text).unwrap_or_else(|| Self(String::try_from("unnamed").unwrap_or_default()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Code> for Slug {
    fn from(code: Code) -> Self {
        Self::fixed(code.slug())
    }
}

impl From<Cause> for Slug {
    fn from(cause: Cause) -> Self {
        Self::fixed(cause.slug())
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::<32>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a slug"))
    }
}

/// The `Request-Id` that the answer carries: visible ASCII, as admitted by the serving edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestId(String<64>);

impl RequestId {
    /// 1 to 64 of `[A-Za-z0-9._-]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        (fits && !text.is_empty()).then(|| String::try_from(text).ok().map(Self)).flatten()
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::<64>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a request id"))
    }
}

/// A guessable value as the log shows it: the first 16 bytes of HMAC-SHA256 under a key derived
/// from the root, the same on every host. Equal values compare equal; nobody can try values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blind(pub [u8; 16]);

/// What happened. Order is format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Record 0 of every log.
    Begin(Begin),
    /// The box started.
    Boot(Boot),
    /// The phase changed.
    Phase {
        /// The phase's word.
        phase: Slug,
        /// Why it is not open.
        reason: Option<Slug>,
    },
    /// A bundle was accepted, and is in force.
    BundleAccepted {
        /// Its number.
        seq: u64,
        /// Its digest.
        digest: Digest,
    },
    /// A bundle was refused.
    BundleRefused {
        /// The problem's code.
        code: Slug,
        /// Number and digest, where it got far enough to have them.
        bundle: Option<(u64, Digest)>,
    },
    /// The box made or re-shared a root.
    Genesis {
        /// The root's generation.
        generation: u32,
        /// Number of the split.
        split: u32,
        /// The root's fingerprint.
        fingerprint: Digest,
    },
    /// Things that are only counted (requests and refusals before there is a root).
    Counted {
        /// What.
        what: Slug,
        /// How often since the last such record.
        count: u32,
    },
    /// One item of an operation, allowed or not.
    Item(Item),
    /// A call that is no item: provisioning and operating routes.
    Call {
        /// Who, where a listed client called.
        client: Option<Label>,
        /// The route's name.
        endpoint: Slug,
        /// How it ended.
        outcome: Outcome,
        /// The answer's id.
        request: RequestId,
    },
    /// The tick counter is about to stand at this value.
    Tick {
        /// Its value after the increment.
        value: u64,
    },
    /// State from which a boot replays.
    Snapshot(Snapshot),
    /// A collector has every block below a number.
    Collected {
        /// Which collector.
        client: Label,
        /// The first block that it does not have.
        next: u64,
    },
    /// Something a person must look at; closes its block.
    Alarm {
        /// Which.
        name: Slug,
        /// Whom it concerns.
        client: Option<Label>,
        /// Number or other detail, by alarm.
        value: Option<u64>,
    },
    /// Records that could not be kept: while the disk failed, or counted out before there was a root.
    Lost {
        /// Why.
        reason: Slug,
        /// How many.
        count: u32,
    },
    /// Refusals of one client that were coalesced (reserved).
    Coalesced {
        /// Which client.
        client: Label,
        /// With which code.
        code: Slug,
        /// How many since the last such record.
        count: u32,
    },
    /// The root was brought in (it was not sealed here, or did not open).
    RootBrought {
        /// `shares` or `forward`.
        by: Slug,
        /// Its generation.
        generation: u32,
        /// Whether a pending root came with it.
        pending: bool,
    },
    /// A pending root was brought to an open box.
    PendingBrought {
        /// Generation of the root in force.
        generation: u32,
    },
    /// The root was given to another box.
    Forwarded {
        /// That box.
        host: Label,
        /// HPKE key of the boot that it was sealed to.
        boot: Digest,
        /// Whether a pending root went with it.
        pending: bool,
    },
}

/// How a log begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Whose log this is.
    pub origin: Origin,
    /// The log that this host wrote before.
    pub former: Former,
    /// Why that one was not continued.
    pub reason: Slug,
    /// Generation of the root whose keys this log uses.
    pub generation: u32,
    /// Whether reads stay closed until a bundle acknowledges the former log's end.
    pub rolled_back: bool,
}

/// Site and box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The site's namespace.
    pub namespace: Label,
    /// The host's name in the bundle.
    pub host: Label,
}

/// What came before a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Former {
    /// Nothing: the disk was blank.
    None,
    /// Something that did not open.
    Unknown,
    /// Something that did not open, with the log id that its header claims.
    Claimed(Digest),
    /// A log that opens: its id and how many blocks it has closed.
    Log {
        /// Its id.
        id: Digest,
        /// Its closed blocks.
        size: u64,
    },
}

/// A start of the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The running image: PCR 11 at `enter-casemate`.
    pub image: Digest,
    /// PCR 7.
    pub pcr7: Digest,
    /// Digest and number of the bundle in force.
    pub bundle: Option<(u64, Digest)>,
    /// Panics and watchdog resets counted before this boot.
    pub crashes: u32,
}

/// An operation of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Encrypt.
    Encrypt,
    /// Decrypt.
    Decrypt,
    /// Rewrap.
    Rewrap,
    /// Index.
    Index,
}

/// One item of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Which client.
    pub client: Label,
    /// What it asked for.
    pub operation: Operation,
    /// On which keyring, where a name was given.
    pub keyring: Option<Label>,
    /// Which key version.
    pub version: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's id (one for all items of a batch).
    pub request: RequestId,
    /// The trace id of `traceparent`.
    pub trace: Option<[u8; 16]>,
    /// Plaintext bytes; 0 where none came out.
    pub bytes: u32,
    /// The subject.
    pub subject: Option<Blind>,
    /// The whole context.
    pub context: Option<Blind>,
    /// Day of creation of the token, days since 1970.
    pub day: Option<u16>,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As asked.
    Done,
    /// Refused: the problem's code, as the client saw it.
    Refused(Slug),
    /// A ciphertext-dependent failure: the client saw `invalid-token`, this is the cause.
    Invalid(Slug),
}

/// What a boot replays from: everything that earlier records said and later ones build on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whose log this is.
    pub origin: Origin,
    /// Closed blocks before the one that holds this record.
    pub size: u64,
    /// The tree over them: roots of its perfect subtrees, largest first.
    pub frontier: Vec<Digest>,
    /// Value of the newest tick.
    pub tick: u64,
    /// What each collector has: the first block that it does not have.
    pub collected: Vec<(Label, u64)>,
    /// Block number and ring position of the snapshot before.
    pub previous: Option<(u64, u64)>,
    /// Bytes on disk of the blocks since then, by client (`None`: the box itself).
    pub spent: Vec<(Option<Label>, u64)>,
    /// Whether reads stay closed until a bundle acknowledges a rollback, and of which log.
    pub rolled_back: Option<Digest>,
    /// What other rooms keep (windows, locks): section id and bytes, ascending.
    pub sections: Vec<(u16, Vec<u8>)>,
}

/// Why bytes are not records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A length that does not fit.
    #[error("record: length")]
    Length,
    /// An unknown event, a name outside its alphabet, bytes left over, or not the one encoding.
    #[error("record: body")]
    Body,
}

impl Record {
    /// Appends length and bytes to `out`.
    ///
    /// # Errors
    /// Longer than [`RECORD_BYTES`]; `out` is unchanged then.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        let encoded = postcard::to_extend(self, Tail(out)).is_ok();
        let length = out.len() - start - 2;
        match (encoded, u16::try_from(length)) {
            (true, Ok(prefix)) if length <= RECORD_BYTES => {
                out[start..start + 2].copy_from_slice(&prefix.to_be_bytes());
                Ok(())
            }
            _ => {
                out.truncate(start);
                Err(RecordError::Length)
            }
        }
    }

    /// Reads the first record of `bytes`; gives it and what follows.
    ///
    /// # Errors
    /// Anything that [`Record::encode_into`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let (prefix, rest) = bytes.split_first_chunk::<2>().ok_or(RecordError::Length)?;
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length > RECORD_BYTES {
            return Err(RecordError::Length);
        }
        let (body, rest) = rest.split_at_checked(length).ok_or(RecordError::Length)?;
        let (record, left) =
            postcard::take_from_bytes::<Self>(body).map_err(|_| RecordError::Body)?;
        // postcard accepts overlong integers: what is not the one encoding is refused.
        let canonical = postcard::to_allocvec(&record).is_ok_and(|again| again == body);
        if left.is_empty() && canonical { Ok((record, rest)) } else { Err(RecordError::Body) }
    }

    /// Every record of a block's plaintext.
    ///
    /// # Errors
    /// The first one that does not decode.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, RecordError> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let (record, rest) = Self::decode(bytes)?;
            out.push(record);
            bytes = rest;
        }
        Ok(out)
    }
}

/// Lets postcard append to a borrowed vector.
struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

#[cfg(test)]
mod tests;
