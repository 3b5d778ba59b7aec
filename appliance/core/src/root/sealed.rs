//! What the TPM seals (decision 1): at most 128 bytes, encoded in one way only.

use casemate_formats::digest::Digest;
use zeroize::Zeroizing;

use super::Root;

/// First byte: this format.
const FORMAT: u8 = 1;
/// Second byte: a root follows.
const HAS_ROOT: u8 = 1;
/// Second byte: a pending root follows (after the root, if there is one).
const HAS_PENDING: u8 = 2;
/// Format, flags, seq, bundle digest.
const HEAD: usize = 1 + 1 + 8 + 32;

/// The content of a blob. It names the bundle that it was sealed under: anyone can seal under an
/// empty owner auth, so what comes out must match the verified bundle.
pub struct Sealed {
    /// Number of that bundle.
    pub seq: u64,
    /// Its digest.
    pub bundle: Digest,
    /// The newest root in force.
    pub root: Option<Root>,
    /// A root that no bundle names yet.
    pub pending: Option<Root>,
}

/// These bytes are not what [`Sealed::encode`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the content of a Casemate blob")]
pub struct SealedError;

impl Sealed {
    /// `format u8 | flags u8 | seq u64 | bundle digest | root? | pending?`, big-endian; 74 or 106
    /// bytes (TPM 2.0 seals at most 128).
    ///
    /// # Errors
    /// There is neither root nor pending root: nothing to seal.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let roots = [(&self.root, HAS_ROOT), (&self.pending, HAS_PENDING)];
        let mut out = Zeroizing::new(Vec::with_capacity(HEAD + 64));
        out.extend_from_slice(&[FORMAT, 0]);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.bundle.0);
        for (root, flag) in roots {
            if let Some(root) = root {
                out[1] |= flag;
                out.extend_from_slice(root.expose_bytes());
            }
        }
        if out[1] == 0 { Err(SealedError) } else { Ok(out) }
    }

    /// Reads what [`Self::encode`] made, and nothing else.
    ///
    /// # Errors
    /// Any other format, flag or length.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealedError> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>().ok_or(SealedError)?;
        let [format, flags, head @ ..] = head;
        let known = (1..=HAS_ROOT | HAS_PENDING).contains(flags);
        if *format != FORMAT || !known {
            return Err(SealedError);
        }
        let (seq, bundle) = head.split_first_chunk::<8>().ok_or(SealedError)?;
        let mut take = |flag: u8| {
            if flags & flag == 0 {
                return Ok(None);
            }
            let (root, after) = rest.split_first_chunk::<32>().ok_or(SealedError)?;
            rest = after;
            Ok(Some(Root::from_random(Zeroizing::new(*root))))
        };
        let (root, pending) = (take(HAS_ROOT)?, take(HAS_PENDING)?);
        if !rest.is_empty() {
            return Err(SealedError);
        }
        let bundle = Digest(bundle.try_into().map_err(|_| SealedError)?);
        Ok(Self { seq: u64::from_be_bytes(*seq), bundle, root, pending })
    }
}
