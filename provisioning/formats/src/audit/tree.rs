//! The tree over closed blocks: RFC 6962 (section 2.1), with the checks of RFC 9162 (2.1.3.2, 2.1.4.2).
//! The box keeps a frontier; collectors and tools prove and verify.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Hash of a leaf: SHA-256(0x00, bytes).
#[must_use]
pub fn leaf(bytes: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// Hash of an inner node: SHA-256(0x01, left, right).
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let hash = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0);
    Digest(hash.finalize().into())
}

/// A tree of which only the right edge is kept: the roots of its perfect subtrees, largest first (one
/// for each bit of its size).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// A frontier as a snapshot holds it; `None` unless there is one node for each bit of `size`.
    #[must_use]
    pub fn from_parts(size: u64, nodes: Vec<Digest>) -> Option<Self> {
        (nodes.len() == size.count_ones() as usize).then_some(Self { size, nodes })
    }

    /// Leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn nodes(&self) -> &[Digest] {
        &self.nodes
    }

    /// Appends a leaf's hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut carry = leaf;
        for _ in 0..self.size.trailing_ones() {
            // One node for each bit of `size`: there is one for each of its trailing ones.
            if let Some(left) = self.nodes.pop() {
                carry = node(&left, &carry);
            }
        }
        self.nodes.push(carry);
        self.size += 1;
    }

    /// The root (of nothing: SHA-256 of nothing).
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => Digest::sha256(&[]),
            Some(last) => nodes.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// The root over leaves' hashes.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The proof that leaf `index` is in the tree over `leaves` (RFC 6962, 2.1.1); `None`: it is not.
#[must_use]
pub fn inclusion(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (inclusion(left, index)?, root(right))
    } else {
        (inclusion(right, index - left.len())?, root(left))
    };
    path.push(sibling);
    Some(path)
}

/// Whether `path` proves that `leaf` stands at `index` in the tree of `size` leaves with this root
/// (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The proof that the tree over the first `former` leaves is a prefix of the one over all (RFC 6962,
/// 2.1.2); `None` unless 0 < former <= leaves.
#[must_use]
pub fn consistency(leaves: &[Digest], former: usize) -> Option<Vec<Digest>> {
    (former > 0 && former <= leaves.len()).then(|| subproof(leaves, former, true))
}

/// Whether `proof` shows that a tree of `size` leaves with `root` grew out of one of `former_size`
/// with `former_root` (RFC 9162, 2.1.4.2). Equal sizes need equal roots and no proof.
#[must_use]
pub fn verify_consistency(
    (former_size, former_root): (u64, &Digest),
    (size, root): (u64, &Digest),
    proof: &[Digest],
) -> bool {
    if former_size == 0 || former_size > size {
        return false;
    }
    if former_size == size {
        return proof.is_empty() && former_root == root;
    }
    let (mut at, mut last) = (former_size - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    // A former tree that is perfect is not repeated in the proof.
    let (start, rest) = if former_size.is_power_of_two() {
        (former_root, proof)
    } else {
        match proof.split_first() {
            Some((first, rest)) => (first, rest),
            None => return false,
        }
    };
    let (mut former, mut hash) = (*start, *start);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            former = node(sibling, &former);
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && former == *former_root && hash == *root
}

fn subproof(leaves: &[Digest], former: usize, whole: bool) -> Vec<Digest> {
    if former == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if former <= left.len() {
        let mut proof = subproof(left, former, whole);
        proof.push(root(right));
        proof
    } else {
        let mut proof = subproof(right, former - left.len(), false);
        proof.push(root(left));
        proof
    }
}

/// The largest power of two below `count` (at least 2).
fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests;
