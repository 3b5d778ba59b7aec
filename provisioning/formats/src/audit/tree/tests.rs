//! The tree: the vectors of RFC 6962's reference implementation, and every proof of small trees.

use proptest::prelude::*;

use super::*;
use crate::digest::parse_hex;

/// Leaves and roots of the certificate-transparency reference tests (RFC 6962, 2.1).
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn vector_leaves() -> Vec<Digest> {
    LEAVES.iter().map(|hex| leaf(&parse_hex(hex.as_bytes()).expect("hex"))).collect()
}

fn numbered(count: usize) -> Vec<Digest> {
    (0..count).map(|i| leaf(&i.to_be_bytes())).collect()
}

#[test]
fn rfc_6962_roots() {
    let leaves = vector_leaves();
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), Digest::sha256(&[]));
    for (size, expected) in (1..).zip(ROOTS) {
        frontier.push(leaves[size - 1]);
        assert_eq!(frontier.root().to_string(), expected);
        assert_eq!(root(&leaves[..size]).to_string(), expected);
    }
}

#[test]
fn rfc_6962_paths() {
    let leaves = vector_leaves();
    let path: Vec<String> =
        inclusion(&leaves, 5).expect("is in it").iter().map(ToString::to_string).collect();
    assert_eq!(
        path,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    let proof: Vec<String> =
        consistency(&leaves, 6).expect("a prefix").iter().map(ToString::to_string).collect();
    assert_eq!(
        proof,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn every_proof_of_a_small_tree_verifies_and_no_other_does() {
    for size in 1..=33 {
        let leaves = numbered(size);
        let whole = root(&leaves);
        for index in 0..size {
            let path = inclusion(&leaves, index).expect("is in it");
            let verify = |leaf: &Digest, index: usize, size: usize, path: &[Digest]| {
                verify_inclusion(leaf, index as u64, size as u64, path, &whole)
            };
            assert!(verify(&leaves[index], index, size, &path));
            assert!(!verify(&leaf(b"other"), index, size, &path));
            for other in (0..size).filter(|other| *other != index) {
                assert!(
                    !verify(&leaves[index], other, size, &path),
                    "{index} as {other} of {size}"
                );
            }
            let mut longer = path.clone();
            longer.push(whole);
            assert!(!verify(&leaves[index], index, size, &longer));
            assert!(path.is_empty() || !verify(&leaves[index], index, size, &path[1..]));
        }
        for former in 1..=size {
            let proof = consistency(&leaves, former).expect("a prefix");
            let before = root(&leaves[..former]);
            let verify = |before: &Digest, proof: &[Digest]| {
                verify_consistency((former as u64, before), (size as u64, &whole), proof)
            };
            assert!(verify(&before, &proof), "{former} of {size}");
            assert!(!verify(&leaf(b"other"), &proof));
            if !proof.is_empty() {
                assert!(!verify(&before, &proof[1..]));
                let mut changed = proof.clone();
                changed[0].0[0] ^= 1;
                assert!(!verify(&before, &changed));
            }
        }
    }
}

#[test]
fn a_frontier_comes_back_from_its_parts_and_from_no_others() {
    let mut frontier = Frontier::new();
    for leaf in numbered(100) {
        let parts = (frontier.size(), frontier.nodes().to_vec());
        assert_eq!(Frontier::from_parts(parts.0, parts.1.clone()), Some(frontier.clone()));
        let mut more = parts.1.clone();
        more.push(leaf);
        assert_eq!(Frontier::from_parts(parts.0, more), None);
        frontier.push(leaf);
    }
}

proptest! {
    #[test]
    fn a_frontier_and_the_recursive_tree_agree(size in 0usize..600) {
        let leaves = numbered(size);
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        prop_assert_eq!(frontier.root(), root(&leaves));
    }

    #[test]
    fn no_proof_upsets_the_verifier(
        index in any::<u64>(), size in any::<u64>(), former in any::<u64>(),
        path in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let path: Vec<Digest> = path.into_iter().map(Digest).collect();
        let root = Digest::ZERO;
        prop_assert!(!verify_inclusion(&root, index, size, &path, &Digest([1; 32])));
        prop_assert!(!verify_consistency((former, &root), (size, &Digest([1; 32])), &path));
    }
}
