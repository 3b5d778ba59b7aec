//! What is sent, byte for byte where it matters, and what is believed.

use proptest::prelude::*;

use super::*;

const ASKER: Asker =
    Asker { transaction: 0x3903_f326, mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56], seconds: 3 };

fn reply(kind: u8, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8, 600> {
    let mut out = Vec::new();
    out.extend([REPLY, ETHERNET, 6, 0]);
    out.extend(ASKER.transaction.to_be_bytes());
    out.resize_default(16).expect("room");
    out.extend(address);
    out.resize_default(28).expect("room");
    out.extend(ASKER.mac);
    out.resize_default(236).expect("room");
    out.extend(MAGIC);
    out.extend([KIND, 1, kind]);
    for (kind, content) in options {
        out.extend([*kind, u8::try_from(content.len()).expect("short")]);
        out.extend(content.iter().copied());
    }
    out.push(END).expect("room");
    out
}

const SERVER_ADDRESS: (u8, &[u8]) = (SERVER, &[10, 0, 2, 2]);
const MASK_24: (u8, &[u8]) = (MASK, &[255, 255, 255, 0]);
const DAY: (u8, &[u8]) = (LEASE, &[0, 1, 0x51, 0x80]);

#[test]
fn a_discovery_asks_for_an_answer_by_broadcast_and_is_long_enough_for_old_relays() {
    let bytes = encode(&ASKER, Sent::Discover);
    assert_eq!(bytes.len(), LEAST);
    assert_eq!(bytes[..12], [1, 1, 6, 0, 0x39, 0x03, 0xf3, 0x26, 0, 3, 0x80, 0]);
    assert_eq!(bytes[240..243], [KIND, 1, DISCOVER]);
}

#[test]
fn a_renewal_names_the_address_as_the_clients_own() {
    let address = Ipv4Addr::new(10, 0, 2, 15);
    let bytes = encode(&ASKER, Sent::Renew { address });
    assert_eq!(bytes[10..16], [0, 0, 10, 0, 2, 15]);
    let select = encode(&ASKER, Sent::Select { address, server: Ipv4Addr::new(10, 0, 2, 2) });
    assert_eq!(select[12..16], [0; 4]);
    assert_eq!(select[243..255], [ADDRESS, 4, 10, 0, 2, 15, SERVER, 4, 10, 0, 2, 2]);
}

#[test]
fn an_acknowledgement_is_a_lease_with_the_times_of_rfc_2131() {
    let bytes = reply(
        ACKNOWLEDGE,
        [10, 0, 2, 15],
        &[SERVER_ADDRESS, MASK_24, DAY, (ROUTER, &[10, 0, 2, 2, 10, 0, 2, 3])],
    );
    let Some(Answer::Lease(lease)) = decode(&ASKER, &bytes) else { panic!("no lease") };
    assert_eq!(lease.prefix, Prefix { address: Ipv4Addr::new(10, 0, 2, 15).into(), length: 24 });
    assert_eq!(lease.router, Some(Ipv4Addr::new(10, 0, 2, 2)));
    assert_eq!((lease.renew, lease.rebind, lease.expire), (43_200, 75_600, 86_400));
}

#[test]
fn a_lease_of_no_time_cannot_make_the_box_ask_without_pause() {
    let bytes = reply(
        ACKNOWLEDGE,
        [10, 0, 2, 15],
        &[SERVER_ADDRESS, MASK_24, (LEASE, &[0; 4]), (RENEWAL, &[0; 4])],
    );
    let Some(Answer::Lease(lease)) = decode(&ASKER, &bytes) else { panic!("no lease") };
    assert_eq!((lease.renew, lease.expire), (10, 20));
}

#[test]
fn answers_to_others_and_addresses_nobody_may_have_are_not_believed() {
    let good = reply(OFFER, [10, 0, 2, 15], &[SERVER_ADDRESS]);
    assert!(matches!(decode(&ASKER, &good), Some(Answer::Offer { .. })));
    for at in [0, 1, 2, 4, 28, 236] {
        let mut other = good.clone();
        other[at] ^= 1;
        assert_eq!(decode(&ASKER, &other), None, "byte {at}");
    }
    for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        assert_eq!(decode(&ASKER, &reply(OFFER, address, &[SERVER_ADDRESS])), None);
    }
}

#[test]
fn a_mask_with_holes_or_an_option_twice_is_not_believed() {
    let options = [SERVER_ADDRESS, (MASK, &[255, 0, 255, 0][..]), DAY];
    assert_eq!(decode(&ASKER, &reply(ACKNOWLEDGE, [10, 0, 2, 15], &options)), None);
    let options = [SERVER_ADDRESS, MASK_24, DAY, DAY];
    assert_eq!(decode(&ASKER, &reply(ACKNOWLEDGE, [10, 0, 2, 15], &options)), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: std::vec::Vec<u8>) {
        let _ = decode(&ASKER, &bytes);
        let _ = Options::parse(&bytes);
    }

    #[test]
    fn no_options_make_the_parser_panic(kind: u8, tail: std::vec::Vec<u8>) {
        let mut bytes = reply(kind, [10, 0, 2, 15], &[]).to_vec();
        bytes.pop();
        bytes.extend(tail);
        let _ = decode(&ASKER, &bytes);
    }
}
