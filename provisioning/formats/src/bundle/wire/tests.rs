//! What `wire` promises, tested.

use proptest::prelude::*;

use super::*;
use crate::bundle::{
    body::{Expected, Network},
    example::{first, full, golden, label},
};

/// Where each section starts and ends, header included.
fn sections(body: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let mut at = 2;
    while at < body.len() {
        let length = u32::from_be_bytes(body[at + 4..at + 8].try_into().unwrap());
        let end = at + 8 + usize::try_from(length).unwrap();
        out.push(at..end);
        at = end;
    }
    out
}

fn slug(body: &[u8]) -> &'static str {
    Bundle::decode(body).unwrap_err().code().slug()
}

fn with_content(body: &[u8], section: usize, content: &[u8]) -> Vec<u8> {
    let at = sections(body)[section].clone();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&body[..at.start + 4], &length, content, &body[at.end..]].concat()
}

#[test]
fn bodies_keep_their_bytes() {
    golden("bundle/first.body", &first().encode());
    golden("bundle/full.body", &full().encode());
    golden("bundle/full.digest", &full().digest().0);
    golden("bundle/full.root-digest", &full().root_digest().0);
    for bundle in [first(), full()] {
        assert_eq!(Bundle::decode(&bundle.encode()).unwrap(), bundle);
    }
}

#[test]
fn an_expected_box_stands_in_a_section_that_is_left_out_without_one() {
    let mut bundle = first();
    let network = bundle.hosts[0].network.clone();
    let expected = Expected { name: label("gamma"), network };
    bundle.expected = vec![expected];
    let body = bundle.encode();
    golden("bundle/expected.body", &body);
    assert_eq!(Bundle::decode(&body).unwrap(), bundle);
    assert!(body.starts_with(&first().encode()), "the other sections stay as they were");
    // An empty table has one encoding: none.
    let empty = with_content(&body, 6, &[0]);
    assert_eq!(slug(&empty), "not-canonical");
}

#[test]
fn an_expected_box_is_known_by_its_hardware_address_and_is_no_host() {
    let network = first().hosts[0].network.clone();
    let with = |name: &str, change: fn(&mut Network)| {
        let mut bundle = first();
        let mut network = network.clone();
        change(&mut network);
        bundle.expected = vec![Expected { name: label(name), network }];
        slug(&bundle.encode())
    };
    assert_eq!(with("gamma", |network| network.mac = None), "out-of-range");
    assert_eq!(with("gamma", |network| network.addresses.clear()), "out-of-range");
    assert_eq!(with("alpha", |_| ()), "out-of-range");
    let mut twice = first();
    let expected = |name: &str| Expected { name: label(name), network: network.clone() };
    twice.expected = vec![expected("delta"), expected("gamma")];
    assert_eq!(slug(&twice.encode()), "duplicate");
}

#[test]
fn an_unknown_version_of_body_or_section_is_refused() {
    for version in [0, 2, 0xffff_u16] {
        let mut body = first().encode();
        body[..2].copy_from_slice(&version.to_be_bytes());
        assert_eq!(slug(&body), "unknown-version");
        for section in sections(&first().encode()) {
            let mut body = first().encode();
            body[section.start + 2..section.start + 4].copy_from_slice(&version.to_be_bytes());
            assert_eq!(slug(&body), "unknown-version");
        }
    }
}

#[test]
fn an_unknown_section_is_refused() {
    for id in [0_u16, 8, 0xffff] {
        let mut body = first().encode();
        body.extend_from_slice(&id.to_be_bytes());
        body.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        assert_eq!(slug(&body), "unknown-section");
    }
}

#[test]
fn a_repeated_a_moved_and_a_missing_section_are_refused_each_by_name() {
    let body = first().encode();
    let all = sections(&body);
    for (at, section) in all.iter().enumerate() {
        let own = &body[section.clone()];
        let repeated = [&body[..section.end], own, &body[section.end..]].concat();
        assert_eq!(slug(&repeated), "duplicate");
        let missing = [&body[..section.start], &body[section.end..]].concat();
        assert_eq!(slug(&missing), "missing-section");
        if at > 0 {
            let before = all[at - 1].clone();
            let moved =
                [&body[..before.start], own, &body[before.clone()], &body[section.end..]].concat();
            assert_eq!(slug(&moved), "section-order");
        }
    }
}

#[test]
fn every_cut_is_refused_as_truncated_or_as_lacking_a_section() {
    let body = full().encode();
    let ends: Vec<usize> = sections(&body).iter().map(|section| section.start).collect();
    for at in 0..body.len() {
        let expected = if ends.contains(&at) { "missing-section" } else { "truncated" };
        assert_eq!(slug(&body[..at]), expected, "cut at {at}");
    }
}

#[test]
fn a_byte_after_the_body_or_inside_a_section_is_refused() {
    let body = full().encode();
    for (at, section) in sections(&body).iter().enumerate() {
        let content = [&body[section.start + 8..section.end], &[0]].concat();
        assert_eq!(slug(&with_content(&body, at, &content)), "trailing-bytes");
    }
    // After the last section a byte is the start of another one.
    assert_eq!(slug(&[body.as_slice(), &[0]].concat()), "truncated");
}

#[test]
fn another_encoding_of_the_same_value_is_refused() {
    // seq 1 as a varint of two bytes: 0x81 0x00 (postcard reads it, and never writes it).
    let body = first().encode();
    let section = sections(&body)[0].clone();
    let content = &body[section.start + 8..section.end];
    let name = 1 + usize::from(content[0]);
    assert_eq!(content[name], 1);
    let padded = [&content[..name], &[0x81, 0x00], &content[name + 1..]].concat();
    assert_eq!(slug(&with_content(&body, 0, &padded)), "not-canonical");
}

#[test]
fn a_table_beyond_the_firmwares_capacity_is_refused_while_it_is_read() {
    let body = first().encode();
    let section = sections(&body)[1].clone();
    let content = &body[section.start + 8..section.end];
    assert_eq!(content[0], 2);
    let five =
        [&[5], &content[1..97], &content[1..97], &content[1..97], &content[1..97], &content[1..97]]
            .concat();
    assert_eq!(slug(&with_content(&body, 1, &five)), "table-too-large");
}

#[test]
fn names_outside_their_alphabet_are_refused() {
    let body = first().encode();
    let section = sections(&body)[0].clone();
    for bad in [b'E', b'1', b'_', b' '] {
        let mut content = body[section.start + 8..section.end].to_vec();
        content[1] = bad;
        assert_eq!(slug(&with_content(&body, 0, &content)), "table-too-large");
    }
}

#[test]
fn the_root_digest_follows_the_root_section_alone() {
    let mut other = full();
    other.site.seq += 1;
    other.hosts.pop();
    assert_eq!(other.root_digest(), full().root_digest());
    other.root.threshold = 1;
    assert_ne!(other.root_digest(), full().root_digest());
}

proptest! {
    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        at in 0_usize..2_000, with in any::<u8>(), cut in 0_usize..3,
    ) {
        let mut body = full().encode();
        let at = at % body.len();
        body[at] = with;
        body.truncate(body.len() - cut);
        if let Ok(bundle) = Bundle::decode(&body) {
            prop_assert_eq!(bundle.encode(), body);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Bundle::decode(&bytes);
        let _ = Bundle::decode(&[&[0, 1, 0, 1, 0, 1, 0, 0, 1, 0], bytes.as_slice()].concat());
    }
}
