//! The overlap's promises, one by one and for any sequence.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    Prefix {
        address: address.parse().expect("an address"),
        length: length.parse().expect("a length"),
    }
}

fn reach(addresses: &[&str], gateways: &[&str], port: u16) -> Reach {
    let mut reach = Reach::default_at(port);
    reach.network.addresses = addresses.iter().map(|text| prefix(text)).collect();
    reach.network.gateways = gateways.iter().map(|text| text.parse().expect("one")).collect();
    reach
}

fn client(local: &str, port: u16, from: &str, began: Duration) -> Connected {
    Connected {
        local: (local.parse().expect("an address"), port),
        from: from.parse().expect("an address"),
        began,
        listed: true,
    }
}

/// Whether this client's connection at `now` proves what is in force.
fn proves(overlap: &mut Overlap, who: &Connected, now: Duration) -> bool {
    let ours = overlap.in_force().network.addresses.clone();
    overlap.connected(who, &ours, now)
}

#[test]
fn the_former_address_stays_until_a_listed_client_came_over_the_new_one() {
    let (old, new) = (reach(&["10.0.0.7/24"], &[], 8443), reach(&["10.0.0.8/24"], &[], 8443));
    let mut overlap = Overlap::new(old.clone());
    assert!(overlap.change(&new, SECOND));
    assert_eq!((overlap.in_force(), overlap.former()), (&new, Some(&old)));
    let mut stranger = client("10.0.0.8", 8443, "10.0.0.50", SECOND);
    stranger.listed = false;
    assert!(!proves(&mut overlap, &stranger, SECOND));
    assert!(!proves(&mut overlap, &client("10.0.0.7", 8443, "10.0.0.50", SECOND), SECOND));
    assert!(overlap.former().is_some());
    assert!(proves(&mut overlap, &client("10.0.0.8", 8443, "10.0.0.50", SECOND), SECOND));
    assert_eq!(overlap.former(), None);
}

#[test]
fn of_two_changes_in_a_row_the_proven_settings_stay() {
    let settings = ["10.0.0.7/24", "10.0.0.8/24", "10.0.0.9/24"].map(|a| reach(&[a], &[], 8443));
    let mut overlap = Overlap::new(settings[0].clone());
    overlap.change(&settings[1], SECOND);
    overlap.change(&settings[2], SECOND);
    assert_eq!((overlap.in_force(), overlap.former()), (&settings[2], Some(&settings[0])));
    // Taken back: there is nothing to prove.
    overlap.change(&settings[0], SECOND);
    assert_eq!((overlap.in_force(), overlap.former()), (&settings[0], None));
    assert!(!overlap.change(&settings[0], SECOND));
}

#[test]
fn a_changed_port_is_proven_over_that_port_alone() {
    let mut overlap = Overlap::new(reach(&["10.0.0.7/24"], &[], 8443));
    overlap.change(&reach(&["10.0.0.7/24"], &[], 443), SECOND);
    assert!(!proves(&mut overlap, &client("10.0.0.7", 8443, "10.0.0.50", SECOND), SECOND));
    assert!(proves(&mut overlap, &client("10.0.0.7", 443, "10.0.0.50", SECOND), SECOND));
}

#[test]
fn after_a_reboot_what_the_disk_says_was_proven_is_kept_beside_what_is_in_force() {
    let (old, new) = (reach(&["10.0.0.7/24"], &[], 8443), reach(&["10.0.0.8/24"], &[], 8443));
    let mut overlap = Overlap::new(new.clone());
    assert!(overlap.proven_before(old.clone(), SECOND));
    assert_eq!(overlap.former(), Some(&old));
    // What this boot keeps is newer than what the disk says.
    assert!(overlap.proven_before(reach(&["10.0.0.1/24"], &[], 1), SECOND));
    assert_eq!(overlap.former(), Some(&old));
    let mut proven = Overlap::new(new.clone());
    assert!(!proven.proven_before(new, SECOND));
    assert_eq!(proven.former(), None);
}

#[test]
fn a_changed_gateway_is_proven_from_beyond_it_in_its_own_turn() {
    let old = reach(&["10.0.0.7/24"], &["10.0.0.1"], 8443);
    let mut overlap = Overlap::new(old);
    overlap.change(&reach(&["10.0.0.7/24"], &["10.0.0.9"], 8443), Duration::ZERO);
    let beyond = |began| client("10.0.0.7", 8443, "192.0.2.50", began);
    let neighbour = |began| client("10.0.0.7", 8443, "10.0.0.50", began);
    // The new gateway's turn, the former one's, and so on.
    assert_eq!(overlap.turn(SECOND), Turn::New);
    assert_eq!(overlap.turn_ends_in(SECOND), Some(TURN - SECOND));
    assert_eq!(overlap.turn(TURN + SECOND), Turn::Former);
    assert_eq!(overlap.turn(TURN * 2), Turn::New);
    assert!(!proves(&mut overlap, &neighbour(SECOND), SECOND), "says nothing about a gateway");
    let former = TURN + SECOND;
    assert!(!proves(&mut overlap, &beyond(former), former), "came by the former gateway");
    let late = TURN * 2 + SECOND;
    assert!(!proves(&mut overlap, &beyond(former), late), "began in the former one's turn");
    // Somebody needs the former gateway: no neighbour takes it away, however long.
    let day = Duration::from_secs(86_400);
    assert!(!proves(&mut overlap, &neighbour(day), day));
    assert!(proves(&mut overlap, &beyond(late), late));
    assert_eq!((overlap.turn(former), overlap.turn_ends_in(former)), (Turn::New, None));
}

#[test]
fn where_nobody_comes_from_beyond_a_neighbour_proves_a_gateway_after_a_while() {
    let mut overlap = Overlap::new(reach(&["10.0.0.7/24"], &["10.0.0.1"], 8443));
    overlap.change(&reach(&["10.0.0.7/24"], &["10.0.0.9"], 8443), Duration::ZERO);
    let at = NOBODY_BEYOND;
    let neighbour = client("10.0.0.7", 8443, "10.0.0.50", at);
    assert!(!proves(&mut overlap, &neighbour, at - SECOND));
    assert!(proves(&mut overlap, &neighbour, at));
}

#[test]
fn an_unchanged_gateway_takes_no_turns() {
    let mut overlap = Overlap::new(reach(&["10.0.0.7/24"], &["10.0.0.1"], 8443));
    overlap.change(&reach(&["10.0.0.8/24"], &["10.0.0.1"], 8443), Duration::ZERO);
    assert_eq!(overlap.turn(TURN + SECOND), Turn::New);
    let beyond = client("10.0.0.8", 8443, "192.0.2.50", SECOND);
    assert!(proves(&mut overlap, &beyond, SECOND));
}

#[test]
fn a_lease_whose_router_the_new_settings_keep_takes_no_turns() {
    let change = |router: Option<&str>| {
        let mut overlap = Overlap::new(Reach::default_at(8443));
        overlap.learn(router.map(|text| text.parse().expect("an address")));
        overlap.change(&reach(&["10.0.0.8/24"], &["10.0.0.1"], 8443), Duration::ZERO);
        overlap.turn(TURN)
    };
    assert_eq!(change(Some("10.0.0.1")), Turn::New);
    assert_eq!(change(Some("10.0.0.2")), Turn::Former);
    assert_eq!(change(None), Turn::Former);
}

#[test]
fn prefixes_contain_their_own() {
    let inside = |p: &str, a: &str| contains(&prefix(p), a.parse().expect("an address"));
    assert!(inside("10.0.0.7/24", "10.0.0.200") && !inside("10.0.0.7/24", "10.0.1.200"));
    assert!(inside("0.0.0.0/0", "192.0.2.1") && !inside("0.0.0.0/0", "2001:db8::1"));
    assert!(inside("fd00::7/64", "fd00::ffff") && !inside("fd00::7/64", "fd00:0:0:1::1"));
    assert!(inside("192.0.2.9/32", "192.0.2.9") && !inside("192.0.2.9/32", "192.0.2.8"));
}

proptest! {
    /// Whatever the sequence of changes, strangers and clients of former addresses: what was proven
    /// last is always one of the two settings that the box answers under.
    #[test]
    fn what_was_proven_last_is_always_kept(steps in proptest::collection::vec((0_u8..3, 0_usize..4), 0..40)) {
        let settings = ["10.0.0.7/24", "10.0.0.8/24", "10.0.1.9/24", "10.0.0.7/16"].map(|a| reach(&[a], &["10.0.0.1"], 8443));
        let mut overlap = Overlap::new(settings[0].clone());
        let mut proven = settings[0].clone();
        for (at, (step, which)) in (1_u64..).zip(steps) {
            let now = Duration::from_secs(at);
            match step {
                0 => { overlap.change(&settings[which], now); }
                1 => { overlap.proven_before(proven.clone(), now); }
                _ => {
                    let mut who = client("10.0.0.7", 8443, "192.0.2.1", now);
                    who.local.0 = settings[which].network.addresses[0].address;
                    if proves(&mut overlap, &who, now) {
                        proven = overlap.in_force().clone();
                    }
                }
            }
            prop_assert!(*overlap.in_force() == proven || overlap.former() == Some(&proven));
        }
    }
}
