//! Genesis answers.

use casemate_formats::{
    bundle::body::{Audit, Bundle, Custodian, Label, Recipient, RootSection, Service, Site},
    code::Code,
    digest::Digest,
    genesis::Answer,
    request::verify,
};

use crate::box_in_software::{SoftBox, image};

fn bundle(spoken: &SoftBox) -> Bundle {
    let custodian = |name| Custodian {
        name: Label::parse(name).unwrap(),
        recipient: Recipient::AgeX25519([1; 32]),
    };
    Bundle {
        site: Site {
            namespace: Label::parse("site").unwrap(),
            seq: 1,
            issued: 0,
            acknowledged_logs: vec![],
        },
        images: [image()].into_iter().collect(),
        hosts: vec![spoken.host()],
        service: Service { port: 8443, keyrings: vec![], clients: vec![] },
        root: RootSection {
            custodians: ["ann", "bob", "cyd"].map(custodian).into_iter().collect(),
            threshold: 2,
            split: 1,
            next: None,
            established: None,
        },
        audit: Audit { collectors_required: 0, overwrite: true },
        expected: Vec::new(),
    }
}

const BUNDLE: Digest = Digest([4; 32]);

fn answer() -> Answer {
    Answer {
        bundle: BUNDLE,
        generation: 1,
        fingerprint: Digest([5; 32]),
        split: 1,
        commitments: vec![Digest([6; 32]), Digest([7; 32]), Digest([8; 32])],
        authority: b"CA certificate".to_vec(),
        wrapped: None,
        shares: vec![b"ann's".to_vec(), b"bob's".to_vec(), b"cyd's".to_vec()],
        ak_public: vec![],
        pcrs: vec![],
        attest: vec![],
        signature: vec![],
    }
}

fn check(spoken: &SoftBox, answer: &Answer) -> Result<String, Code> {
    verify::genesis(answer, &bundle(&SoftBox::healthy()), &BUNDLE)
        .map(|host| host.name.to_string())
        .map_err(|refusal| refusal.code)
        .inspect_err(|_| assert_eq!(spoken.ak_public(), answer.ak_public))
}

#[test]
fn an_answer_by_a_listed_host_holds() {
    let spoken = SoftBox::healthy();
    assert_eq!(check(&spoken, &spoken.answer(answer())), Ok("alpha".into()));
}

#[test]
fn genesis_answer_swapped() {
    let spoken = SoftBox::healthy();
    let changes: [fn(&mut Answer); 9] = [
        |a| a.bundle.0[0] ^= 1,
        |a| a.generation += 1,
        |a| a.fingerprint.0[0] ^= 1,
        |a| a.split += 1,
        |a| a.commitments.swap(0, 1),
        |a| a.authority[0] ^= 1,
        |a| a.wrapped = Some(vec![]),
        |a| a.shares.swap(0, 1),
        |a| a.shares[2].push(0),
    ];
    for change in changes {
        let mut swapped = spoken.answer(answer());
        change(&mut swapped);
        assert_eq!(check(&spoken, &swapped), Err(Code::GenesisAltered));
    }
}

#[test]
fn a_quoted_request_is_no_genesis_answer() {
    let spoken = SoftBox::healthy();
    let (request, mut swapped) = (spoken.request(), spoken.answer(answer()));
    (swapped.attest, swapped.signature) = (request.attest, request.signature);
    assert_eq!(check(&spoken, &swapped), Err(Code::GenesisAltered));
}

#[test]
fn an_answer_made_under_another_bundle() {
    let spoken = SoftBox::healthy();
    let made = spoken.answer(Answer { bundle: Digest([9; 32]), ..answer() });
    assert_eq!(check(&spoken, &made), Err(Code::WrongBundle));
}

#[test]
fn an_answer_that_does_not_fit_what_was_asked() {
    let spoken = SoftBox::healthy();
    let changes: [fn(&mut Answer); 5] = [
        |a| a.generation = 2,
        |a| a.split = 2,
        |a| a.shares.truncate(2),
        |a| a.commitments.truncate(2),
        |a| a.wrapped = Some(vec![1]),
    ];
    for change in changes {
        let mut made = answer();
        change(&mut made);
        assert_eq!(check(&spoken, &spoken.answer(made)), Err(Code::GenesisAltered));
    }
}

#[test]
fn an_answer_by_a_box_that_is_not_ours() {
    // An unlisted AK (other attributes make another Name); a listed one in another boot.
    let mut foreign = SoftBox::healthy();
    foreign.attributes ^= 1 << 10;
    assert_eq!(check(&foreign, &foreign.answer(answer())), Err(Code::HostMismatch));
    for (pcr, code) in [
        (7, Code::HostMismatch),
        (11, Code::ImageNotListed),
        (12, Code::PcrNotZero),
        (13, Code::PcrNotZero),
    ] {
        let mut other = SoftBox::healthy();
        other.pcrs[pcr] = Digest([1; 32]);
        assert_eq!(check(&other, &other.answer(answer())), Err(code));
    }
}
