//! Blocks, with a cipher that hides nothing: what is tested is the layout. The sealed golden block
//! stands with the firmware's cipher.

use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::golden::golden;

/// Leaves the text as it is and authenticates it.
struct Transparent;

impl Transparent {
    fn tag(nonce: &[u8], aad: &[u8], text: &[u8]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"test").expect("any length");
        mac.update(nonce);
        mac.update(aad);
        mac.update(text);
        core::array::from_fn(|i| mac.clone().finalize().into_bytes()[i])
    }
}

impl Cipher for Transparent {
    fn seal(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        Self::tag(nonce, aad, text)
    }

    fn open(&self, nonce: &[u8; 24], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        Self::tag(nonce, aad, text) == *tag
    }
}

fn header(length: usize) -> Header {
    Header {
        log: Digest([0x11; 32]),
        number: 2,
        write: 3,
        position: 5,
        snapshot: 4,
        generation: 1,
        length: u32::try_from(length).expect("small"),
        closed: true,
        nonce: [0x22; 24],
    }
}

#[test]
fn a_block_has_the_layout_it_always_had() {
    let sealed = seal(&header(5), &Digest([0x33; 32]), b"hello", &Transparent);
    golden("audit/block-layout.v1.bin", &sealed);
}

#[test]
fn a_block_comes_back_whatever_its_length() {
    for length in [0, 1, UNIT - OVERHEAD, UNIT - OVERHEAD + 1, MAX_RECORDS] {
        let records = vec![7; length];
        let link = Digest([1; 32]);
        let mut sealed = seal(&header(length), &link, &records, &Transparent);
        assert_eq!(sealed.len(), header(length).bytes());
        assert!(sealed.len() <= MAX_BYTES);
        sealed.extend([9; 100]);
        let (found, body) = open(&sealed, &Transparent).expect("opens");
        assert_eq!((found, body), (header(length), Body { link, records }));
    }
}

#[test]
fn any_flipped_bit_is_refused_by_name() {
    let sealed = seal(&header(5), &Digest([0x33; 32]), b"hello", &Transparent);
    for bit in 0..sealed.len() * 8 {
        // The sealed text all alike: one bit of each byte.
        if bit > HEADER_BYTES * 8 && bit % 8 != bit / 8 % 8 {
            continue;
        }
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open(&flipped, &Transparent).expect_err("changed");
        match bit / 8 {
            0..6 => assert_eq!(error, BlockError::Foreign),
            6..8 => assert_eq!(error, BlockError::Version),
            _ => assert!(
                matches!(error, BlockError::Seal | BlockError::Header),
                "bit {bit}: {error}"
            ),
        }
    }
}

#[test]
fn padding_that_is_not_empty_is_refused() {
    let mut sealed = seal(&header(5), &Digest([0x33; 32]), b"hello", &Transparent);
    let body = sealed.len() - TAG;
    sealed[HEADER_BYTES + LINK + 5] = 1;
    let tag = Transparent::tag(&[0x22; 24], &sealed[..HEADER_BYTES], &sealed[HEADER_BYTES..body]);
    sealed[body..].copy_from_slice(&tag);
    assert_eq!(open(&sealed, &Transparent), Err(BlockError::Padding));
}

proptest! {
    #[test]
    fn no_bytes_upset_the_reader(mut bytes in proptest::collection::vec(any::<u8>(), 0..5000), ours in any::<bool>()) {
        if ours && bytes.len() > 8 {
            bytes[..6].copy_from_slice(MAGIC);
            bytes[6..8].copy_from_slice(&FORMAT.to_be_bytes());
        }
        prop_assert!(open(&bytes, &Transparent).is_err());
    }

    #[test]
    fn a_header_comes_back(number in any::<u64>(), write in any::<u64>(), snapshot in any::<u64>(), more in any::<u32>(), closed in any::<bool>()) {
        let position = snapshot.saturating_add(more.into());
        let header = Header { number, write, snapshot, position, closed, ..header(9) };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
}
