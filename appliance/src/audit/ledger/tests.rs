//! Accounts: what is reserved stays reserved, what is free is counted once.

use super::*;

fn label(text: &str) -> Label {
    Label::parse(text).expect("a name")
}

fn terms(overwrite: bool) -> Terms {
    Terms {
        collectors_required: 1,
        overwrite,
        clients: vec![label("rails"), label("jobs")],
        acknowledged: Vec::new(),
    }
}

fn client(name: &str) -> Class {
    Class::Client(label(name))
}

fn spent(class: &Class) -> Spent {
    let mut spent = Spent::default();
    spent.add(class, 100);
    spent
}

/// Fills by one client until it is no longer admitted; a segment every 16 blocks of one unit.
fn fill(ledger: &mut Ledger, class: &Class, number: &mut u64) {
    while ledger.admits(class, UNIT as u64, 0) {
        if number.is_multiple_of(16) && *number > 0 {
            ledger.begin_segment(*number, ledger.head);
        }
        ledger.closed(ledger.head, ledger.head + 1, spent(class));
        *number += 1;
    }
}

#[test]
fn one_client_fills_the_common_part_and_its_own_and_nobody_elses() {
    let mut ledger = Ledger::new(1024, 0, 0, &terms(false));
    let mut number = 0;
    fill(&mut ledger, &client("rails"), &mut number);
    // 960 units: an eighth for the box, three sixteenths for the other client.
    assert_eq!(number, 960 - 120 - 180);
    fill(&mut ledger, &client("jobs"), &mut number);
    assert_eq!(number, 960 - 120);
    fill(&mut ledger, &Class::System, &mut number);
    assert_eq!(number, 960);
    assert!(ledger.admits(&Class::Collector, 100, 0));
    assert_eq!(ledger.room(), 0);
    assert_eq!(ledger.fill(), (1000, true));
}

#[test]
fn a_client_that_the_bundle_does_not_list_has_the_common_part_only() {
    let mut ledger = Ledger::new(1024, 0, 0, &terms(false));
    let mut number = 0;
    fill(&mut ledger, &client("former"), &mut number);
    assert_eq!(number, 960 / 2);
}

#[test]
fn what_collectors_have_is_free_by_whole_segments_and_once() {
    let mut ledger = Ledger::new(1024, 0, 0, &terms(false));
    let mut number = 0;
    fill(&mut ledger, &client("rails"), &mut number);
    let full = ledger.used();
    ledger.free(40);
    assert_eq!(full - ledger.used(), 32 * UNIT as u64);
    ledger.free(40);
    ledger.free(10);
    assert_eq!(full - ledger.used(), 32 * UNIT as u64);
    let before = number;
    fill(&mut ledger, &client("rails"), &mut number);
    assert_eq!(number - before, 32);
    assert!(ledger.check_overwrite(32 + 1024).is_ok());
    assert!(ledger.check_overwrite(32 + 1025).is_err());
}

#[test]
fn segments_found_on_the_disk_count_as_when_they_were_written() {
    let mut whole = Ledger::new(1024, 0, 0, &terms(false));
    let mut number = 0;
    fill(&mut whole, &client("rails"), &mut number);
    // Booted at segment 3, then told of 2, 1 and 0.
    let mut booted = Ledger::new(1024, 48, 48, &terms(false));
    let account = vec![(Some(label("rails")), 16 * UNIT as u64)];
    booted.set_before(Some(((32, 32), account.clone())));
    for at in [32, 16, 0] {
        let before = (at > 0).then(|| ((at - 16, at - 16), account.clone()));
        booted.extend_back((at, at), before);
    }
    assert_eq!(booted.before(), None);
    let mut more = 48;
    fill(&mut booted, &client("rails"), &mut more);
    assert_eq!(more, number);
    assert_eq!((booted.used(), booted.usage), (whole.used(), whole.usage));
}

#[test]
fn older_segments_behind_free_ones_are_free() {
    let mut ledger = Ledger::new(1024, 32, 32, &terms(false));
    ledger.set_before(Some(((16, 16), vec![(None, 16 * UNIT as u64)])));
    ledger.closed(32, 33, spent(&client("rails")));
    ledger.begin_segment(33, 33);
    ledger.free(33);
    assert_eq!(ledger.used(), 0);
    ledger.extend_back((16, 16), None);
    assert_eq!(ledger.used(), 0);
    assert_eq!(ledger.usage.values().sum::<u64>(), 0);
    assert_eq!(ledger.locate(20), Some((16, 16)));
}

#[test]
fn overwritten_segments_are_forgotten() {
    let mut ledger = Ledger::new(1024, 0, 0, &terms(true));
    for number in 0..5000 {
        if number % 16 == 0 && number > 0 {
            ledger.begin_segment(number, ledger.head);
        }
        ledger.closed(ledger.head, ledger.head + 1, spent(&client("rails")));
    }
    assert!(ledger.segments.len() <= 1024 / 16 + 2);
    assert_eq!(ledger.locate(100), None);
    // In an older segment its beginning is known, in the newest one every block.
    assert_eq!(ledger.locate(4900), Some((4896, 4896)));
    assert_eq!(ledger.locate(4999), Some((4999, 4999)));
    assert!(ledger.usage.values().sum::<u64>() <= 1100 * UNIT as u64);
}

#[test]
fn a_snapshot_names_the_largest_accounts_and_adds_up_the_rest() {
    let spent: BTreeMap<Class, u64> =
        (0..300).map(|n| (client(&format!("c{n}")), 1000 + n)).collect();
    let listed = listed(&spent);
    assert_eq!(listed.len(), 1 + SPENT_ACCOUNTS);
    assert_eq!(listed[0].0, None);
    assert_eq!(listed.iter().map(|(_, b)| b).sum::<u64>(), spent.values().sum::<u64>());
    assert!(listed.iter().any(|(name, _)| *name == Some(label("c299"))));
}
