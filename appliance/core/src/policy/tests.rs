//! Clients, roles, contexts and sources: who is let through, and what the others are told.

use casemate_formats::{
    api::Context,
    bundle::body::Roles,
    code::{Cause, Code},
};
use proptest::prelude::*;

use super::*;
use crate::{
    fixture::{bundle, key},
    routes::TABLE,
};

fn policy() -> Policy {
    Policy::new(&bundle())
}

fn context(pairs: &[(&str, &str)]) -> Context {
    Context::from_pairs(pairs.iter().copied()).expect("unique")
}

fn client(policy: &Policy, number: u8) -> ClientId {
    policy.client(&key(number)).expect("listed")
}

const PII: &[(&str, &str)] = &[("column", "ssn"), ("table", "users")];

#[test]
fn a_client_is_found_by_either_of_its_keys_and_by_no_other() {
    let policy = policy();
    for (number, name) in
        [(1, "rails"), (2, "rails"), (3, "intake"), (4, "auditor"), (5, "auditor")]
    {
        let client = client(&policy, number);
        assert_eq!(policy.name(client).map(Label::as_str), Some(name));
    }
    assert_eq!(policy.client(&key(6)), None);
    assert_eq!(policy.client(&Digest::ZERO), None);
}

#[test]
fn a_thousand_clients_are_each_found_by_both_keys_with_their_own_roles() {
    let mut bundle = bundle();
    let pattern = bundle.service.clients[2].clone();
    let keys = |number: u32| [2 * number, 2 * number + 1].map(|n| Digest::sha256(&n.to_be_bytes()));
    bundle.service.clients = (0..1_000)
        .map(|number| {
            let mut client = pattern.clone();
            client.name = Label::parse(&format!("client-{number:03}")).expect("a name");
            client.keys = keys(number).into_iter().collect();
            if number % 2 == 1 {
                client.grants.clear();
            }
            client
        })
        .collect();
    let policy = Policy::new(&bundle);
    let pii = context(PII);
    for number in 0..1_000 {
        for key in keys(number) {
            let client = policy.client(&key).expect("listed");
            assert_eq!(policy.name(client), Label::parse(&format!("client-{number:03}")).as_ref());
            let allowed = policy.decide(client, Operation::Decrypt, "pii", &pii).is_ok();
            assert_eq!(allowed, number % 2 == 0, "{number}");
        }
    }
}

#[test]
fn a_permit_says_what_was_allowed() {
    let policy = policy();
    let context = context(PII);
    let permit = policy
        .decide(client(&policy, 1), Operation::Decrypt, "pii", &context)
        .expect("rails may decrypt pii");
    assert_eq!((permit.operation(), permit.keyring()), (Operation::Decrypt, "pii"));
    assert_eq!((permit.context(), permit.on_canary()), (&context, OnCanary::Alert));
}

#[test]
fn the_subject_is_the_value_of_the_name_that_the_keyring_says() {
    let mut bundle = bundle();
    let context = context(PII);
    let subject = |bundle: &Bundle| {
        let policy = Policy::new(bundle);
        let decided = policy.decide(client(&policy, 1), Operation::Decrypt, "pii", &context);
        decided.expect("rails may").subject().map(str::to_owned)
    };
    assert_eq!(subject(&bundle), None);
    bundle.service.keyrings[1].subject = Label::parse("column");
    assert_eq!(subject(&bundle).as_deref(), Some("ssn"));
}

#[test]
fn a_role_on_one_keyring_is_none_on_another_and_none_for_another_operation() {
    let policy = policy();
    let (pii, empty) = (context(PII), Context::new());
    let refused = |number: u8, operation, keyring: &str, context: &Context| {
        policy.decide(client(&policy, number), operation, keyring, context).err().map(|r| r.cause)
    };
    assert_eq!(refused(3, Operation::Encrypt, "pii", &pii), None);
    assert_eq!(refused(3, Operation::Decrypt, "pii", &pii), Some(Cause::NoRole));
    assert_eq!(refused(3, Operation::Encrypt, "card", &empty), Some(Cause::NoRole));
    assert_eq!(refused(4, Operation::Decrypt, "card", &empty), Some(Cause::NoRole));
    assert_eq!(refused(1, Operation::Decrypt, "card", &empty), None);
}

#[test]
fn who_may_not_use_a_keyring_does_not_learn_whether_there_is_one() {
    let policy = policy();
    let ask = |keyring: &str, context: &Context| {
        policy.decide(client(&policy, 3), Operation::Encrypt, keyring, context).err()
    };
    let there = ask("card", &context(&[("no", "such")]));
    assert!(there.is_some());
    for name in ["nothing", "", "PII", "pii ", "a.b"] {
        assert_eq!(ask(name, &Context::new()), there, "{name}");
    }
}

#[test]
fn missing_and_extra_context_names_are_named() {
    let policy = policy();
    let detail = |pairs: &[(&str, &str)]| {
        let context = context(pairs);
        let client = client(&policy, 1);
        let refusal = policy.decide(client, Operation::Decrypt, "pii", &context).err();
        let refusal = refusal.expect("refused");
        assert_eq!((refusal.cause, refusal.code()), (Cause::ContextNames, Code::ContextNames));
        refusal.detail.expect("says which")
    };
    assert_eq!(detail(&[]), "missing: column, table");
    assert_eq!(detail(&[("table", "users")]), "missing: column");
    assert_eq!(detail(&[PII[0], ("row", "1"), PII[1]]), "extra: row");
    assert_eq!(detail(&[PII[0], ("tabel", "users")]), "missing: table; extra: tabel");
    assert_eq!(detail(&[PII[0], PII[1], ("<script>", "")]), "extra: (not a name)");
}

#[test]
fn a_context_value_of_256_bytes_is_taken_and_of_257_refused() {
    let policy = policy();
    let decide = |length: usize| {
        let value = "v".repeat(length);
        let context = context(&[("column", &value), ("table", "")]);
        policy.decide(client(&policy, 1), Operation::Encrypt, "pii", &context).err()
    };
    assert_eq!(decide(256), None);
    let refusal = decide(257).expect("refused");
    assert_eq!(refusal.code(), Code::ContextTooLarge);
    assert_eq!(refusal.detail.as_deref(), Some("column: more than 256 bytes"));
}

#[test]
fn a_client_with_prefixes_is_admitted_from_them_alone() {
    let policy = policy();
    let (inside, outside) = ("10.9.8.7", "192.0.2.1");
    let (inside, outside) = (inside.parse().expect("address"), outside.parse().expect("address"));
    let intake = client(&policy, 3);
    assert!(policy.admits(intake, inside) && !policy.admits(intake, outside));
    let rails = client(&policy, 1);
    assert!(policy.admits(rails, inside) && policy.admits(rails, outside));
}

#[test]
fn a_route_asks_for_a_certificate_then_for_a_role() {
    let policy = policy();
    for route in TABLE {
        let stranger = policy.may_call(route, None);
        let expected = if route.open_to(None) { Ok(()) } else { Err(Code::NoClientCertificate) };
        assert_eq!(stranger, expected, "{}", route.path);
        let auditor = policy.may_call(route, Some(client(&policy, 4)));
        let expected =
            if route.open_to(Some(Roles::AUDIT)) { Ok(()) } else { Err(Code::NotPermitted) };
        assert_eq!(auditor, expected, "{}", route.path);
    }
}

#[test]
fn keyrings_are_listed_to_those_who_have_roles_on_them() {
    let policy = policy();
    let listed = |number: u8| -> Vec<(String, Roles)> {
        let keyrings = policy.keyrings(client(&policy, number));
        keyrings.map(|(keyring, roles)| (keyring.name.to_string(), roles)).collect()
    };
    let both = Roles::ENCRYPT.union(Roles::DECRYPT);
    assert_eq!(listed(1), [("card".into(), both), ("pii".into(), both)]);
    assert_eq!(listed(3), [("pii".into(), Roles::ENCRYPT)]);
    assert!(listed(4).is_empty());
}

#[test]
fn a_grant_on_a_keyring_that_is_gone_grants_nothing() {
    let mut bundle = bundle();
    bundle.service.keyrings.remove(0);
    let policy = Policy::new(&bundle);
    let empty = Context::new();
    let refusal = policy.decide(client(&policy, 1), Operation::Decrypt, "card", &empty);
    assert_eq!(refusal.err().map(|r| r.cause), Some(Cause::NoRole));
    let pii = context(PII);
    assert!(policy.decide(client(&policy, 1), Operation::Decrypt, "pii", &pii).is_ok());
}

proptest! {
    #[test]
    fn any_context_is_either_exactly_the_keyrings_names_or_refused_without_its_values(
        pairs in proptest::collection::btree_map("[a-z]{1,6}|column|table|\\PC{0,4}", "secret-[0-9]{3}", 0..5),
    ) {
        let policy = policy();
        let exact = pairs.keys().map(String::as_str).eq(["column", "table"]);
        let context = Context::from_pairs(pairs).expect("unique");
        match policy.decide(client(&policy, 1), Operation::Encrypt, "pii", &context) {
            Ok(_) => prop_assert!(exact),
            Err(refusal) => {
                prop_assert!(!exact);
                prop_assert!(!refusal.detail.unwrap_or_default().contains("secret-"));
            }
        }
    }
}
