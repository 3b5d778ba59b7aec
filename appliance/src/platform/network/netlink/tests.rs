//! Requests are compared with what `ip` (iproute2) sends; answers with any bytes.

use proptest::prelude::*;

use super::*;

fn prefix(text: &str, length: u8) -> Prefix {
    Prefix { address: text.parse().expect("an address"), length }
}

fn answer(sequence: u32, error: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(36_u32.to_ne_bytes());
    bytes.extend(NLMSG_ERROR.to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(7_u32.to_ne_bytes());
    bytes.extend(error.to_ne_bytes());
    bytes.extend([0; 16]);
    bytes
}

#[test]
fn an_address_is_asked_for_as_iproute2_does() {
    let mut message = address_message(RTM_NEWADDR, 2, prefix("10.0.2.15", 24));
    let expected = [
        &[48, 0, 0, 0, 20, 0, 5, 5, 9, 0, 0, 0, 0, 0, 0, 0][..],
        &[2, 24, 0, 0, 2, 0, 0, 0],
        &[8, 0, 2, 0, 10, 0, 2, 15],
        &[8, 0, 1, 0, 10, 0, 2, 15],
        &[8, 0, 4, 0, 10, 0, 2, 255],
    ]
    .concat();
    assert_eq!(message.finish(9), expected);
}

#[test]
fn a_default_route_names_gateway_and_interface() {
    let mut message = route_message(RTM_NEWROUTE, 3, "10.0.2.2".parse().expect("an address"));
    let expected = [
        &[44, 0, 0, 0, 24, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0, 0][..],
        &[2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0],
        &[8, 0, 5, 0, 10, 0, 2, 2],
        &[8, 0, 4, 0, 3, 0, 0, 0],
    ]
    .concat();
    assert_eq!(message.finish(1), expected);
}

#[test]
fn a_network_of_one_or_two_addresses_has_no_broadcast() {
    let address = Ipv4Addr::new(192, 0, 2, 9);
    assert_eq!(broadcast(address, 32), None);
    assert_eq!(broadcast(address, 31), None);
    assert_eq!(broadcast(address, 30), Some(Ipv4Addr::new(192, 0, 2, 11)));
    assert_eq!(broadcast(address, 0), Some(Ipv4Addr::BROADCAST));
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let both = [answer(1, 0), answer(2, -17)].concat();
    let refused = acknowledged(&both, 2).expect("answered").expect_err("refused");
    assert_eq!(refused.raw_os_error(), Some(17));
    assert!(acknowledged(&both, 1).expect("answered").is_ok());
    assert!(acknowledged(&both, 3).is_none());
    assert!(acknowledged(&answer(4, i32::MIN), 4).expect("answered").is_err());
}

#[test]
fn an_interface_that_does_not_exist_is_the_kernels_error() {
    let mut netlink = Netlink::open().expect("a socket");
    let error = netlink.up(u32::MAX / 2).expect_err("no such interface");
    assert!(matches!(error.raw_os_error(), Some(nix::libc::ENODEV | nix::libc::EPERM)), "{error}");
}

proptest! {
    #[test]
    fn no_answer_makes_the_parser_panic_or_run_for_ever(bytes: Vec<u8>, sequence: u32) {
        let _ = acknowledged(&bytes, sequence);
    }

    #[test]
    fn a_damaged_answer_does_not_make_the_parser_panic(at in 0..36_usize, byte: u8) {
        let mut bytes = answer(5, 0);
        bytes[at] = byte;
        let _ = acknowledged(&bytes, 5);
    }
}

#[test]
fn the_kernels_own_list_ends_and_holds_loopback() {
    let found = Netlink::open().and_then(|mut netlink| netlink.interfaces()).expect("a list");
    let lo = found.iter().find(|interface| interface.name == "lo").expect("loopback");
    assert!(!lo.physical && lo.index > 0);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_lists_panic(bytes: Vec<u8>, sequence: u32) {
        let _ = listed(&bytes, sequence, &mut Vec::new());
        let _ = attributes(&bytes).count();
    }
}
