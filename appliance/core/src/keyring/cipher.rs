//! XAES-256-GCM (C2SP, <https://c2sp.org/XAES-256-GCM>): AES-256-GCM with nonces long enough to be
//! random for ever. Used for records and for wrapped roots.

use aes::{
    Aes256Enc,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use aes_gcm::{AeadInOut as _, AesGcm, aead::consts::U12};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a nonce, always from the machine's generator.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// The tag does not verify. Says no more: every reason looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// A key, ready for use: its schedule and the subkey K1 (steps 1 and 2 of the specification).
pub struct Xaes {
    aes: Aes256Enc,
    k1: [u8; 16],
}

impl Drop for Xaes {
    fn drop(&mut self) {
        // The schedule wipes itself (feature `zeroize` of `aes`).
        self.k1.zeroize();
    }
}

impl Xaes {
    /// Prepares a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let aes = Aes256Enc::new(key.into());
        let mut block = aes::Block::default();
        aes.encrypt_block(&mut block);
        // CMAC subkey K1 (NIST SP 800-38B, 6.1), without a branch on a secret bit.
        let l = u128::from_be_bytes(block.0);
        let k1 = ((l << 1) ^ ((l >> 127) * 0b1000_0111)).to_be_bytes();
        block.zeroize();
        Self { aes, k1 }
    }

    /// Encrypts in place.
    #[must_use]
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let (gcm, nonce) = self.subkey(nonce);
        gcm.encrypt_inout_detached(&nonce.into(), aad, buffer.into())
            .expect("lengths are bounded far below 64 GiB")
            .into()
    }

    /// Decrypts in place; `buffer` is left encrypted when the tag does not verify.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Forged> {
        let (gcm, nonce) = self.subkey(nonce);
        gcm.decrypt_inout_detached(&nonce.into(), aad, buffer.into(), tag.into())
            .map_err(|_| Forged)
    }

    /// Steps 3 to 6: the key and nonce of AES-256-GCM for one message.
    fn subkey(&self, nonce: &[u8; NONCE_BYTES]) -> (AesGcm<Aes256Enc, U12>, [u8; 12]) {
        let (key, rest) = self.message_key(nonce);
        (AesGcm::from(Aes256Enc::new((&*key).into())), rest)
    }

    /// Key and nonce of the AES-256-GCM that does the work for one message (steps 3 to 6), for who has
    /// another implementation of that: audit blocks are sealed with the platform's.
    #[must_use]
    pub fn message_key(&self, nonce: &[u8; NONCE_BYTES]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
        let (first, rest) = nonce.split_first_chunk::<12>().expect("24 bytes hold 12");
        (self.key(first), rest.try_into().expect("24 - 12 = 12"))
    }

    fn key(&self, first: &[u8; 12]) -> Zeroizing<[u8; 32]> {
        let mut blocks = [aes::Block::default(); 2];
        for (block, counter) in blocks.iter_mut().zip(1u8..) {
            block[..4].copy_from_slice(&[0, counter, b'X', 0]);
            block[4..].copy_from_slice(first);
            block.iter_mut().zip(self.k1).for_each(|(m, k)| *m ^= k);
        }
        self.aes.encrypt_blocks(&mut blocks);
        let mut key = Zeroizing::new([0; 32]);
        for (half, block) in key.chunks_exact_mut(16).zip(&mut blocks) {
            half.copy_from_slice(block);
            block.zeroize();
        }
        key
    }
}

#[cfg(test)]
mod tests;
