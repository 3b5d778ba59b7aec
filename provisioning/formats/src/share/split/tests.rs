//! What `split` promises, tested.

use proptest::prelude::*;

use super::*;
use crate::bundle::example::{ROOT, custodians, full, golden, label};

fn holders(count: u8) -> Vec<Custodian> {
    (1..=count)
        .map(|n| Custodian {
            name: label(&format!("custodian-{n}")),
            recipient: Recipient::AgeX25519([n; 32]),
        })
        .collect()
}

fn asked(custodians: &[Custodian], threshold: u8) -> Asked<'_> {
    Asked { generation: 1, fresh: true, custodians, threshold, split: 1 }
}

fn copy(share: &Share) -> Share {
    Share::from_bytes(share.expose_bytes()).unwrap()
}

#[test]
fn the_field_is_that_of_fips_197() {
    assert_eq!(multiply(0x57, 0x83), 0xc1);
    assert_eq!(multiply(0x57, 0x13), 0xfe);
    for a in 1..=255 {
        assert_eq!(multiply(a, invert(a)), 1);
    }
}

#[test]
fn shares_acks_and_commitments_keep_their_bytes() {
    let custodians = custodians();
    let shares = split(&ROOT, &asked(&custodians, 2)).unwrap();
    let all: Vec<u8> = shares.iter().flat_map(|share| *share.expose_bytes()).collect();
    golden("share/split.shares", &all);
    golden("share/split.acks", &shares.iter().flat_map(|s| s.ack().0).collect::<Vec<_>>());
    golden(
        "share/split.commitments",
        &shares.iter().flat_map(|s| s.commitment().0).collect::<Vec<_>>(),
    );
    golden("share/custodians.digest", &custodians_digest(&custodians).0);
}

#[test]
fn a_threshold_that_does_not_fit_is_refused() {
    let custodians = holders(3);
    for threshold in [0, 4] {
        assert_eq!(split(&ROOT, &asked(&custodians, threshold)).err(), Some(SplitError::Threshold));
    }
    assert_eq!(split(&ROOT, &asked(&[], 0)).err(), Some(SplitError::Threshold));
    assert_eq!(split(&ROOT, &asked(&holders(17), 2)).err(), Some(SplitError::Threshold));
}

#[test]
fn whatever_is_part_of_a_split_changes_all_shares() {
    let custodians = holders(3);
    let base = asked(&custodians, 2);
    let shares = |asked: &Asked<'_>| {
        split(&ROOT, asked).unwrap().iter().map(|s| *s.expose_bytes()).collect::<Vec<_>>()
    };
    let mut renamed = holders(3);
    renamed[2].name = label("somebody");
    let mut rekeyed = holders(3);
    rekeyed[2].recipient = Recipient::AgeX25519([9; 32]);
    for other in [
        Asked { generation: 2, ..base },
        Asked { split: 2, ..base },
        Asked { threshold: 3, ..base },
        Asked { custodians: &renamed, ..base },
        Asked { custodians: &rekeyed, ..base },
    ] {
        for (one, two) in shares(&base).iter().zip(shares(&other)) {
            assert_ne!(*one, two);
        }
    }
    assert_eq!(shares(&Asked { fresh: false, ..base }), shares(&base));
}

#[test]
fn the_same_custodian_twice_or_nobody_is_refused() {
    let custodians = holders(3);
    let shares = split(&ROOT, &asked(&custodians, 2)).unwrap();
    let twice = [copy(&shares[1]), copy(&shares[1])];
    assert_eq!(combine(&twice).err(), Some(SplitError::Repeated));
    assert_eq!(combine(&[]).err(), Some(SplitError::None));
}

#[test]
fn a_share_with_the_roots_own_coordinate_is_none() {
    assert_eq!(Share::from_bytes(&[0; SHARE_BYTES]).err(), Some(SplitError::Malformed));
    assert_eq!(Share::from_bytes(&[1; SHARE_BYTES - 1]).err(), Some(SplitError::Malformed));
}

#[test]
fn the_established_split_is_the_one_of_the_present_custodians() {
    let mut bundle = full();
    let present = bundle.root.established_split().unwrap();
    assert_eq!((present.generation, present.split, present.threshold), (2, 1, 2));
    bundle.root.established = None;
    assert_eq!(bundle.root.established_split(), None);
}

proptest! {
    #[test]
    fn any_k_shares_give_the_root_and_fewer_do_not(
        root: [u8; 32],
        count in 1_u8..=16,
        threshold in 1_u8..=16,
        order in any::<u64>(),
    ) {
        let threshold = threshold.min(count);
        let custodians = holders(count);
        let mut shares = split(&root, &asked(&custodians, threshold)).unwrap();
        shares.sort_by_key(|share| order.rotate_left(u32::from(share.index()) * 7) & 0xffff);
        let k = usize::from(threshold);
        prop_assert!(*combine(&shares[..k]).unwrap() == root);
        prop_assert!(*combine(&shares).unwrap() == root);
        if k > 1 {
            prop_assert!(*combine(&shares[..k - 1]).unwrap() != root);
        }
    }

    /// With k - 1 shares every root is as likely as any other: for each there is a k-th share.
    #[test]
    fn k_minus_one_shares_fit_any_root(root: [u8; 32], other: [u8; 32]) {
        let custodians = holders(3);
        let shares = split(&root, &asked(&custodians, 2)).unwrap();
        let mut forged = *shares[1].expose_bytes();
        for at in 0..32 {
            // The line through (0, other) and the first share, at the second one's coordinate.
            let slope = multiply(shares[0].expose_bytes()[at + 1] ^ other[at], invert(1));
            forged[at + 1] = multiply(slope, 2) ^ other[at];
        }
        let pair = [copy(&shares[0]), Share::from_bytes(&forged).unwrap()];
        prop_assert!(*combine(&pair).unwrap() == other);
    }
}
