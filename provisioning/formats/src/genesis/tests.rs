//! What `genesis` promises, tested.

use super::*;
use crate::bundle::example::{digest, first, golden, label, signed};

fn example() -> Answer {
    Answer {
        bundle: first().digest(),
        generation: 1,
        fingerprint: digest("fingerprint"),
        split: 1,
        commitments: vec![digest("a"), digest("b"), digest("c")],
        authority: vec![0x30, 1],
        wrapped: None,
        shares: vec![vec![1], vec![2], vec![3]],
        ak_public: vec![4],
        pcrs: vec![Digest::ZERO; 16],
        attest: vec![5],
        signature: vec![6],
    }
}

#[test]
fn acks_commitments_and_what_is_quoted_keep_their_bytes() {
    golden("genesis/ack", &ack(&[3; 33]).0);
    golden("genesis/commitment", &commitment(&ack(&[3; 33])).0);
    golden("genesis/extra-data", &example().extra_data().0);
}

#[test]
fn documents_keep_their_text() {
    let bundle = signed(first().encode(), &[0, 1]).encode().unwrap();
    let document = Document { bundle, answer: example() };
    golden("genesis/document.json", &serde_json::to_vec_pretty(&document).unwrap());
    let ack = Ack {
        namespace: label("example"),
        generation: 1,
        split: 1,
        custodian: label("alice"),
        ack: ack(&[3; 33]),
    };
    golden("genesis/ack.json", &serde_json::to_vec_pretty(&ack).unwrap());
}

#[test]
fn the_quote_covers_every_field_but_itself() {
    let quoted = example().extra_data();
    let changes: [fn(&mut Answer); 9] = [
        |a| a.bundle = Digest::ZERO,
        |a| a.generation = 2,
        |a| a.fingerprint = Digest::ZERO,
        |a| a.split = 2,
        |a| a.commitments.swap(0, 1),
        |a| a.authority.push(0),
        |a| a.wrapped = Some(Vec::new()),
        |a| a.shares.swap(0, 1),
        |a| a.shares[0].push(0),
    ];
    for change in changes {
        let mut other = example();
        change(&mut other);
        assert_ne!(other.extra_data(), quoted);
    }
}

#[test]
fn an_unknown_field_of_an_answer_is_refused() {
    let text = serde_json::to_string(&example()).unwrap();
    let more = text.replacen('{', "{\"more\":1,", 1);
    assert!(serde_json::from_str::<Answer>(&text).is_ok());
    assert!(serde_json::from_str::<Answer>(&more).is_err());
}
