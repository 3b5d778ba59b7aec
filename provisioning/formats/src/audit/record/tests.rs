//! Records: one encoding each, bounded, and no bytes that upset the reader.

use proptest::prelude::*;

use super::*;
use crate::golden::golden;

fn label(text: &str) -> Label {
    Label::parse(text).expect("a name")
}

fn item() -> Item {
    Item {
        client: label("rails"),
        operation: Operation::Decrypt,
        keyring: Some(label("pii")),
        version: Some(3),
        outcome: Outcome::Invalid(Slug::from(Cause::TokenTag)),
        request: RequestId::parse("01J8Z3.a_b-c").expect("an id"),
        trace: Some([0xab; 16]),
        bytes: 0,
        subject: Some(Blind([1; 16])),
        context: Some(Blind([2; 16])),
        day: Some(20_416),
    }
}

/// One of each kind: their order and fields are the format.
fn every_event() -> Vec<Event> {
    let origin = Origin { namespace: label("example"), host: label("box-1") };
    let (digest, other) = (Digest([3; 32]), Digest([4; 32]));
    let code = Slug::from(Code::AuditUnavailable);
    let request = RequestId::parse("r1").expect("an id");
    vec![
        Event::Begin(Begin {
            origin: origin.clone(),
            former: Former::Log { id: digest, size: 12 },
            reason: Slug::fixed("ring-behind"),
            generation: 2,
            rolled_back: true,
        }),
        Event::Boot(Boot { image: digest, pcr7: other, bundle: Some((9, digest)), crashes: 1 }),
        Event::Phase { phase: Slug::fixed("locked"), reason: Some(Slug::fixed("no-root")) },
        Event::BundleAccepted { seq: 300, digest },
        Event::BundleRefused { code: code.clone(), bundle: None },
        Event::Genesis { generation: 1, split: 2, fingerprint: other },
        Event::Counted { what: Slug::fixed("request"), count: 1_000_000 },
        Event::Item(item()),
        Event::Call {
            client: Some(label("auditor")),
            endpoint: Slug::fixed("audit-blocks"),
            outcome: Outcome::Refused(code.clone()),
            request,
        },
        Event::Tick { value: 77 },
        Event::Snapshot(Snapshot {
            origin,
            size: 3,
            frontier: vec![digest, other],
            tick: 5,
            collected: vec![(label("auditor"), 2)],
            previous: Some((0, 17)),
            spent: vec![(None, 4096), (Some(label("rails")), 8192)],
            rolled_back: None,
            sections: vec![(1, vec![1, 2, 3])],
        }),
        Event::Collected { client: label("auditor"), next: 4 },
        Event::Alarm { name: Slug::fixed("state-rolled-back"), client: None, value: Some(9) },
        Event::Lost { reason: Slug::fixed("audit-disk"), count: 3 },
        Event::Coalesced { client: label("rails"), code, count: 500 },
    ]
}

/// What was appended since.
fn events_of_recovery() -> Vec<Event> {
    vec![
        Event::RootBrought { by: Slug::fixed("shares"), generation: 2, pending: false },
        Event::PendingBrought { generation: 2 },
        Event::Forwarded { host: label("box-2"), boot: Digest([5; 32]), pending: true },
    ]
}

fn encoded(events: Vec<Event>) -> Vec<u8> {
    let at = Stamp { unix_ms: 1_790_000_000_123, monotonic_ms: 4_567 };
    let mut out = Vec::new();
    for event in events {
        Record { at, event }.encode_into(&mut out).expect("fits");
    }
    out
}

#[test]
fn every_kind_of_record_has_the_bytes_it_always_had() {
    golden("audit/records.v1.bin", &encoded(every_event()));
    golden("audit/records-recovery.v1.bin", &encoded(events_of_recovery()));
}

#[test]
fn every_kind_of_record_comes_back() {
    for events in [every_event(), events_of_recovery()] {
        let records = Record::decode_all(&encoded(events.clone())).expect("decodes");
        assert_eq!(records.into_iter().map(|record| record.event).collect::<Vec<_>>(), events);
    }
}

#[test]
fn an_item_is_small() {
    // 64 of them are a group commit: they should fit two units.
    let length = encoded(vec![Event::Item(item())]).len();
    assert!(length <= 128, "{length}");
}

#[test]
fn every_code_and_cause_has_its_name_in_a_record() {
    for code in Code::ALL {
        assert_eq!(Slug::from(*code).as_str(), code.slug());
    }
    for cause in Cause::ALL {
        assert_eq!(Slug::from(cause).as_str(), cause.slug());
    }
}

#[test]
fn what_is_cut_or_has_more_is_refused() {
    let bytes = encoded(vec![Event::Item(item())]);
    for end in 0..bytes.len() {
        assert!(Record::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer[1] += 1;
    longer.push(0);
    assert_eq!(Record::decode(&longer), Err(RecordError::Body));
}

#[test]
fn the_same_number_in_more_bytes_is_refused() {
    let mut bytes = encoded(vec![Event::Tick { value: 5 }]);
    let last = bytes.pop().expect("the value");
    bytes.extend([last | 0x80, 0]);
    bytes[1] += 1;
    assert_eq!(Record::decode(&bytes), Err(RecordError::Body));
}

#[test]
fn a_record_that_is_too_long_is_refused_and_leaves_nothing_behind() {
    let Event::Snapshot(mut snapshot) = every_event().swap_remove(10) else {
        panic!("the snapshot")
    };
    snapshot.sections = vec![(1, vec![0; RECORD_BYTES])];
    let record = Record { at: Stamp::default(), event: Event::Snapshot(snapshot) };
    let mut out = vec![1, 2, 3];
    assert_eq!(record.encode_into(&mut out), Err(RecordError::Length));
    assert_eq!(out, [1, 2, 3]);
}

proptest! {
    #[test]
    fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Record::decode_all(&bytes);
    }

    #[test]
    fn no_change_of_a_record_reads_as_something_it_would_not_write(
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let mut bytes = encoded(every_event());
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok((record, rest)) = Record::decode(&bytes) {
            let mut again = Vec::new();
            record.encode_into(&mut again).expect("was decoded");
            prop_assert_eq!(&again, &bytes[..bytes.len() - rest.len()]);
        }
    }
}
