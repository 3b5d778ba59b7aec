//! The root section: what ops want (`[root]`), what there is (the newest signed bundle), and what
//! genesis answers with all acknowledgements add to it.

use super::{Finding, RootSource, compile::table};
use crate::{
    bundle::{
        Verified,
        body::{Custodian, Established, Label, Next, Recipient, RootSection},
    },
    code::Code,
    genesis::{Ack, Answer, commitment},
    limits,
    share::age::parse_recipient,
};

/// What is known of roots so far. Everything in it was verified before.
#[derive(Debug, Default)]
pub struct Genesis {
    /// The newest signed bundle: the root that there is.
    pub base: Option<Verified>,
    /// Genesis answers, each with the bundle that asked for it.
    pub answers: Vec<(Verified, Answer)>,
    /// Custodians' acknowledgements, of any answer.
    pub acks: Vec<Ack>,
}

/// What the root section becomes, and what people should know.
pub(super) struct Roots {
    pub(super) section: RootSection,
    pub(super) notes: Vec<String>,
}

pub(super) fn compile(
    source: &RootSource,
    genesis: &Genesis,
    findings: &mut Vec<Finding>,
) -> Option<Roots> {
    let mut notes = Vec::new();
    let wanted = wanted(source, findings)?;
    let base = genesis.base.as_ref().map(|base| &base.bundle().root);
    let mut current = base.filter(|root| root.established.is_some()).cloned();
    let mut answers: Vec<_> = genesis.answers.iter().collect();
    answers.sort_by_key(|(_, answer)| (answer.generation, answer.split));
    for (asked_by, answer) in answers {
        let present = current.as_ref().and_then(present_of);
        if present.is_some_and(|present| (answer.generation, answer.split) <= present) {
            continue;
        }
        if let Some(acks) = acknowledged(asked_by, answer, &genesis.acks, &mut notes, findings) {
            current = Some(advance(current.as_ref(), asked_by, answer, acks, findings)?);
        }
    }
    let section = join(source, wanted, current, findings)?;
    Some(Roots { section, notes })
}

struct Wanted {
    custodians: heapless::Vec<Custodian, { limits::CUSTODIANS }>,
    threshold: u8,
}

fn wanted(source: &RootSource, findings: &mut Vec<Finding>) -> Option<Wanted> {
    const PLACE: &str = "bundle.toml: root.custodian";
    let mut custodians = Vec::new();
    for custodian in &source.custodian {
        let name = Label::parse(&custodian.name);
        let key = parse_recipient(&custodian.recipient);
        if let (Some(name), Ok(key)) = (name, key) {
            custodians.push(Custodian { name, recipient: Recipient::AgeX25519(key) });
        } else {
            findings.push(Finding::new(
                Code::OutOfRange,
                PLACE,
                "a name and an age recipient age1…",
                format!("{:?}, {:?}", custodian.name, custodian.recipient),
                "`age-keygen -y IDENTITY` prints the recipient",
            ));
        }
    }
    let custodians = table(PLACE, custodians.into_iter(), findings)?;
    Some(Wanted { custodians, threshold: source.threshold })
}

fn present_of(root: &RootSection) -> Option<(u32, u32)> {
    root.established.as_ref().map(|known| (known.generation, root.split))
}

/// The acknowledgements of all custodians in their order; `None`: some are still missing.
fn acknowledged(
    asked_by: &Verified,
    answer: &Answer,
    acks: &[Ack],
    notes: &mut Vec<String>,
    findings: &mut Vec<Finding>,
) -> Option<Vec<crate::digest::Digest>> {
    let (generation, split) = (answer.generation, answer.split);
    let asked = asked_by.bundle().root.asked()?;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (custodian, expected) in asked.custodians.iter().zip(&answer.commitments) {
        let of_this = |ack: &&Ack| {
            (ack.generation, ack.split) == (generation, split) && ack.custodian == custodian.name
        };
        match acks.iter().find(of_this) {
            None => missing.push(custodian.name.as_str()),
            Some(ack) if commitment(&ack.ack) == *expected => found.push(ack.ack),
            Some(ack) => findings.push(Finding::new(
                Code::WrongAck,
                format!("acks/{generation}-{split}/{}.json", ack.custodian),
                format!("the acknowledgement of commitment {expected}"),
                format!("one of {}", commitment(&ack.ack)),
                "remove it and have the custodian run `casemate share ack` with the present answer",
            )),
        }
    }
    if missing.is_empty() && found.len() == asked.custodians.len() {
        return Some(found);
    }
    if !missing.is_empty() {
        notes.push(format!(
            "root {generation}, split {split}: {} of {} custodians acknowledged; missing: {}",
            found.len(),
            asked.custodians.len(),
            missing.join(", ")
        ));
    }
    None
}

/// The root section after an answer that every custodian acknowledged.
fn advance(
    current: Option<&RootSection>,
    asked_by: &Verified,
    answer: &Answer,
    acks: Vec<crate::digest::Digest>,
    findings: &mut Vec<Finding>,
) -> Option<RootSection> {
    let asked = asked_by.bundle().root.asked()?;
    let known = current.and_then(|root| root.established.as_ref());
    let mut authorities = known.map(|known| known.authorities.clone()).unwrap_or_default();
    let mut wrapped = known.map(|known| known.wrapped.clone()).unwrap_or_default();
    let newest = known.map_or(0, |known| known.generation);
    let follows = if answer.generation == newest + 1 {
        authorities.push(answer.authority.clone());
        wrapped.extend(answer.wrapped.clone());
        true
    } else {
        answer.generation == newest && known.is_some_and(|k| k.fingerprint == answer.fingerprint)
    };
    if !follows {
        let (generation, split) = (answer.generation, answer.split);
        findings.push(Finding::new(
            Code::RootChain,
            format!("genesis/{generation}-{split}.json"),
            format!("an answer for root {newest} or {}", newest + 1),
            format!("root {generation}, fingerprint {}", answer.fingerprint),
            "bring back the older answers, or the newest signed bundle",
        ));
        return None;
    }
    Some(RootSection {
        custodians: asked.custodians.iter().cloned().collect(),
        threshold: asked.threshold,
        split: answer.split,
        next: None,
        established: Some(Established {
            generation: answer.generation,
            fingerprint: answer.fingerprint,
            commitments: answer.commitments.iter().copied().collect(),
            acks: acks.into_iter().collect(),
            authorities,
            serving: known.map_or(answer.generation, |known| known.serving),
            wrapped,
        }),
    })
}

/// What there is, with what is wanted beyond it.
fn join(
    source: &RootSource,
    wanted: Wanted,
    current: Option<RootSection>,
    findings: &mut Vec<Finding>,
) -> Option<RootSection> {
    const PLACE: &str = "bundle.toml: root";
    let Wanted { custodians, threshold } = wanted;
    let mut refuse = |expected: String, found: String, next: &str| {
        findings.push(Finding::new(Code::Inconsistent, PLACE, expected, found, next));
        None
    };
    let Some(mut root) = current else {
        if source.generation != 1 {
            return refuse(
                "generation = 1: there is no root yet".to_owned(),
                format!("generation = {}", source.generation),
                "ask for the first root first",
            );
        }
        let split = source.split;
        return Some(RootSection { custodians, threshold, split, next: None, established: None });
    };
    let known = root.established.as_mut()?;
    known.serving = source.serving;
    let (generation, split) = (known.generation, root.split);
    let same = root.custodians == custodians && root.threshold == threshold;
    if (source.generation, source.split) == (generation, split) {
        if same {
            return Some(root);
        }
        return refuse(
            format!("the custodians and threshold of split {split}, which hold the shares"),
            "others".to_owned(),
            "raise `split` by one to give shares to others",
        );
    }
    let asks = source.generation == generation || source.generation == generation + 1;
    if !asks || source.split <= split {
        return refuse(
            format!(
                "generation {generation} or {}, and a split above {split} to ask for something",
                generation + 1
            ),
            format!("generation = {}, split = {}", source.generation, source.split),
            "set both to what there is, or raise `split` by one (and `generation` for a new root)",
        );
    }
    let next_root = source.generation > generation;
    root.next = Some(Next { root: next_root, custodians, threshold, split: source.split });
    Some(root)
}
