//! The keys of one log, derived from the root generation in force when it began: blocks, checkpoint,
//! guessable values. One key, one purpose.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use casemate_core::{
    keyring::cipher::Xaes,
    root::{Chain, Purpose},
};
use casemate_formats::{
    audit::{
        block::Cipher,
        checkpoint::{self, Checkpoint},
        record::{Blind, Origin},
    },
    digest::{Digest, preimage},
};

use super::Identity;

/// Keys of a log. Not Clone, not Debug; each part wipes itself.
pub(super) struct LogKeys {
    pub(super) generation: u32,
    pub(super) identity: Identity,
    block: Xaes,
    checkpoint: ed25519_dalek::SigningKey,
    blind: hmac::Key,
}

impl LogKeys {
    /// Derives them; `None`: the chain has no such generation.
    pub(super) fn derive(chain: &Chain, generation: u32, log: Digest, of: &Origin) -> Option<Self> {
        let block = chain.derive(generation, Purpose::Block, &[&log.0])?;
        let seed = chain.derive(generation, Purpose::Checkpoint, &[&log.0])?;
        let subject = chain.derive(generation, Purpose::Subject, &[])?;
        let checkpoint = checkpoint::key(&seed);
        Some(Self {
            generation,
            identity: Identity {
                log,
                origin: checkpoint::origin(of, &log),
                checkpoint_key: checkpoint.verifying_key().to_bytes(),
            },
            block: Xaes::new(&block),
            checkpoint,
            blind: hmac::Key::new(hmac::HMAC_SHA256, subject.as_slice()),
        })
    }

    /// Signs the checkpoint of a tree.
    pub(super) fn sign(&self, size: u64, root: Digest) -> String {
        let origin = self.identity.origin.clone();
        checkpoint::sign(&Checkpoint { origin, size, root }, &self.checkpoint)
    }

    /// The keyed hash of a guessable value of one kind (`subject`, `context`).
    pub(super) fn blind(&self, kind: &str, value: &[u8]) -> Blind {
        let tag = hmac::sign(&self.blind, &preimage("blind", &[kind.as_bytes(), value]));
        Blind(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }

    fn message_key(&self, nonce: &[u8; 24]) -> Option<(LessSafeKey, Nonce)> {
        let (key, rest) = self.block.message_key(nonce);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?);
        Some((key, Nonce::assume_unique_for_key(rest)))
    }
}

/// XAES-256-GCM with the AES-GCM of aws-lc, four times as fast on a block as RustCrypto's.
impl Cipher for LogKeys {
    fn seal(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.message_key(nonce)
            .and_then(|(key, nonce)| {
                key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()
            })
            .and_then(|tag| tag.as_ref().try_into().ok())
            .expect("a key of 32 bytes and a block of 64 KiB are within AES-GCM's bounds")
    }

    fn open(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let sealed = text.to_vec();
        self.message_key(nonce).is_some_and(|(key, nonce)| {
            key.open_separate_gather(nonce, Aad::from(aad), &sealed, tag, text).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use casemate_core::root::Root;
    use casemate_formats::audit::block::{self, Header};

    use super::*;

    /// C2SP XAES-256-GCM, test vectors: through aws-lc they are the same.
    #[test]
    fn blocks_are_sealed_with_xaes_256_gcm() {
        let vectors = [
            (1, &b""[..], "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (
                3,
                &b"c2sp.org/XAES-256-GCM"[..],
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ];
        for (byte, aad, expected) in vectors {
            let mut keys = keys();
            keys.block = Xaes::new(&[byte; 32]);
            let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
            let mut text = *b"XAES-256-GCM";
            let tag = keys.seal(nonce, aad, &mut text);
            let sealed = casemate_formats::digest::hex(&[&text[..], &tag].concat());
            assert_eq!(sealed, expected);
            assert!(keys.open(nonce, aad, &mut text, &tag));
            assert_eq!(&text, b"XAES-256-GCM");
            assert!(!keys.open(nonce, b"other", &mut text, &tag));
        }
    }

    #[test]
    fn equal_values_are_equal_blinds_of_one_kind_only() {
        let keys = keys();
        assert_eq!(keys.blind("subject", b"42"), keys.blind("subject", b"42"));
        assert_ne!(keys.blind("subject", b"42"), keys.blind("subject", b"43"));
        assert_ne!(keys.blind("subject", b"42"), keys.blind("context", b"42"));
    }

    /// Derivation, cipher and layout in one: root of sevens, log id of nines.
    #[test]
    fn a_sealed_block_has_the_bytes_it_always_had() {
        let keys = keys();
        let header = Header {
            log: Digest([9; 32]),
            number: 2,
            write: 3,
            position: 5,
            snapshot: 4,
            generation: 1,
            length: 5,
            closed: true,
            nonce: [0x22; 24],
        };
        let sealed = block::seal(&header, &Digest([0x33; 32]), b"hello", &keys);
        assert!(sealed == include_bytes!("../../testdata/audit/block.v1.bin"));
        let (found, body) = block::open(&sealed, &keys).expect("opens");
        assert_eq!((found, body.records.as_slice()), (header, &b"hello"[..]));
        for bit in 0..block::HEADER_BYTES * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(block::open(&flipped, &keys).is_err(), "bit {bit}");
        }
    }

    fn keys() -> LogKeys {
        let chain = crate::audit::tests::chain(Root::from_random(zeroize::Zeroizing::new([7; 32])));
        LogKeys::derive(&chain, 1, Digest([9; 32]), &crate::audit::tests::origin())
            .expect("generation 1 exists")
    }
}
