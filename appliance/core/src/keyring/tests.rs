//! The token: golden file, round trips, and everything that must fail in the same way.

use casemate_formats::{api::Context, code::Code};
use proptest::prelude::*;

use super::*;
use crate::{
    fixture::{bundle, chain, key},
    policy::Policy,
};

const GOLDEN: &str = include_str!("../../testdata/token.v1.txt");
const NONCE: [u8; NONCE_BYTES] = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
const DAY: Day = Day(20_781);

struct Box {
    policy: Policy,
    keyrings: Keyrings,
}

fn a_box() -> Box {
    a_box_of(&bundle())
}

fn a_box_of(bundle: &Bundle) -> Box {
    let keyrings = Keyrings::new(bundle, &chain()).expect("every generation is there");
    Box { policy: Policy::new(bundle), keyrings }
}

fn context(column: &str) -> Context {
    Context::from_pairs([("column", column), ("table", "users")]).expect("unique")
}

impl Box {
    fn permit<'a>(
        &'a self,
        operation: Operation,
        keyring: &str,
        context: &'a Context,
    ) -> Permit<'a> {
        let rails = self.policy.client(&key(1)).expect("listed");
        self.policy.decide(rails, operation, keyring, context).expect("rails may")
    }

    fn make(&self, kind: Kind, value: &[u8], column: &str) -> String {
        let context = context(column);
        let permit = self.permit(Operation::Encrypt, "pii", &context);
        self.keyrings.make(&permit, kind, value, NONCE, DAY).expect("made").encode()
    }

    fn encrypt(&self, value: &[u8]) -> String {
        self.make(Kind::Record, value, "ssn")
    }

    /// As an endpoint does it: parse, decide, decrypt. `Err`: what the audit log gets.
    fn decrypt(&self, text: &str, column: &str) -> Result<Vec<u8>, Cause> {
        let token = Token::parse(text)?;
        let context = context(column);
        let rails = self.policy.client(&key(1)).expect("listed");
        let named = token.keyring().to_owned();
        let permit = self
            .policy
            .decide(rails, Operation::Decrypt, &named, &context)
            .map_err(|refusal| refusal.cause)?;
        let opened = self.keyrings.decrypt(&permit, token);
        opened.outcome.map(|value| value.expose_bytes().to_vec())
    }
}

#[test]
fn token_v1_is_the_golden_file() {
    let made = a_box().encrypt(b"123-45-6789");
    assert_eq!(made, GOLDEN.trim_end());
    assert_eq!(a_box().decrypt(GOLDEN.trim_end(), "ssn"), Ok(b"123-45-6789".to_vec()));
}

#[test]
fn a_token_tells_keyring_version_and_day_and_begins_as_sql_finds_it() {
    let text = a_box().encrypt(b"");
    assert!(text.starts_with("cm1.pii.4."), "newest version: {text}");
    let token = Token::parse(&text).expect("well-formed");
    assert_eq!((token.keyring(), token.version(), token.day()), ("pii", 4, DAY));
    assert_eq!(token.encode(), text);
}

#[test]
fn every_changed_byte_of_a_token_fails() {
    let machine = a_box();
    let text = machine.encrypt(b"value");
    for at in 0..text.len() {
        for byte in (b' '..=b'~').filter(|byte| *byte != text.as_bytes()[at]) {
            let mut changed = text.clone().into_bytes();
            changed[at] = byte;
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(machine.decrypt(&changed, "ssn").is_err(), "{changed}");
        }
    }
}

#[test]
fn every_changed_bit_of_a_tokens_body_is_the_same_failure() {
    let machine = a_box();
    let context = context("ssn");
    let text = machine.encrypt(b"value");
    let body = Token::parse(&text).expect("well-formed").body;
    for bit in 0..body.len() * 8 {
        let mut token = Token::parse(&text).expect("well-formed");
        token.body[bit / 8] ^= 1 << (bit % 8);
        let permit = machine.permit(Operation::Decrypt, "pii", &context);
        let opened = machine.keyrings.decrypt(&permit, token);
        assert_eq!(opened.outcome.err(), Some(Cause::TokenTag), "bit {bit}");
        assert_eq!(opened.effect, Effect::None);
    }
}

#[test]
fn a_wrong_value_version_or_kind_is_told_as_invalid_token_alone() {
    let machine = a_box();
    let text = machine.encrypt(b"value");
    let causes = [
        (machine.decrypt(&text, "email"), Cause::TokenTag),
        (machine.decrypt(&text.replace("cm1.pii.4.", "cm1.pii.3."), "ssn"), Cause::TokenTag),
        (machine.decrypt(&text.replace("cm1.pii.4.", "cm1.pii.2."), "ssn"), Cause::TokenVersion),
        (machine.decrypt(&text.replace("cm1.pii.4.", "cm1.pii.5."), "ssn"), Cause::TokenVersion),
        (machine.decrypt("not a token", "ssn"), Cause::TokenMalformed),
        (machine.decrypt(&machine.make(Kind::Canary, b"value", "ssn"), "ssn"), Cause::Canary),
    ];
    for (outcome, cause) in causes {
        assert_eq!(outcome, Err(cause));
        assert_eq!(cause.code(), Code::InvalidToken);
    }
}

#[test]
fn a_token_of_another_keyring_does_not_decrypt_even_with_its_name_changed() {
    let machine = a_box();
    let empty = Context::new();
    let permit = machine.permit(Operation::Encrypt, "card", &empty);
    let token = machine.keyrings.encrypt(&permit, b"4111", NONCE, DAY).expect("made");
    let text = token.encode();
    let permit = machine.permit(Operation::Decrypt, "card", &empty);
    let opened = machine.keyrings.decrypt(&permit, token);
    assert_eq!(opened.outcome.expect("decrypts").expose_bytes(), b"4111");
    let renamed = text.replace("cm1.card.1.", "cm1.pii.4.");
    assert_eq!(machine.decrypt(&renamed, "ssn"), Err(Cause::TokenTag));
}

#[test]
fn a_permit_for_another_keyring_or_operation_opens_nothing() {
    let machine = a_box();
    let text = machine.encrypt(b"value");
    let (ssn, empty) = (context("ssn"), Context::new());
    let others = [
        machine.permit(Operation::Encrypt, "pii", &ssn),
        machine.permit(Operation::Decrypt, "card", &empty),
    ];
    for permit in others {
        let token = Token::parse(&text).expect("well-formed");
        let opened = machine.keyrings.decrypt(&permit, token);
        assert_eq!(opened.outcome.err(), Some(Cause::NoRole));
    }
    let decrypt = machine.permit(Operation::Decrypt, "pii", &ssn);
    let refused = machine.keyrings.encrypt(&decrypt, b"value", NONCE, DAY);
    assert_eq!(refused.err(), Some(Cause::NoRole));
}

#[test]
fn a_canary_answers_like_any_failure_and_asks_for_its_effect() {
    let machine = a_box();
    let context = context("ssn");
    let text = machine.make(Kind::Canary, b"bait", "ssn");
    assert_eq!(text.len(), machine.encrypt(b"fish").len(), "looks like a record");
    let permit = machine.permit(Operation::Decrypt, "pii", &context);
    let opened = machine.keyrings.decrypt(&permit, Token::parse(&text).expect("well-formed"));
    assert_eq!(opened.outcome.err(), Some(Cause::Canary));
    assert_eq!(opened.effect, Effect::Canary(OnCanary::Alert));
}

#[test]
fn an_unknown_kind_is_refused() {
    let machine = a_box();
    let (_, newest) = machine.keyrings.ring("pii").and_then(Ring::newest).expect("a key");
    let ssn = context("ssn");
    for kind in 2..=255 {
        let aad = aad("pii", 4, DAY, &ssn);
        let mut body = [&DAY.0.to_be_bytes()[..], &NONCE, &[kind, b'v']].concat();
        let tag = newest.seal(&NONCE, &aad, &mut body[token::HEAD..]);
        body.extend_from_slice(&tag);
        let token = Token { keyring: crate::fixture::label("pii"), version: 4, body };
        assert_eq!(machine.decrypt(&token.encode(), "ssn"), Err(Cause::TokenKind));
    }
}

#[test]
fn the_lowest_version_that_decrypts_is_the_first_one_listed() {
    let old = a_box_of(&{
        let mut bundle = bundle();
        bundle.service.keyrings[1].versions.pop();
        bundle
    });
    let text = old.encrypt(b"value");
    assert!(text.starts_with("cm1.pii.3."));
    assert_eq!(a_box().decrypt(&text, "ssn"), Ok(b"value".to_vec()), "3 still decrypts");
    let newer = a_box_of(&{
        let mut bundle = bundle();
        bundle.service.keyrings[1].versions.remove(0);
        bundle.service.keyrings[1].first_version = 4;
        bundle
    });
    assert_eq!(newer.decrypt(&text, "ssn"), Err(Cause::TokenVersion));
    assert_eq!(newer.decrypt(&a_box().encrypt(b"v"), "ssn"), Ok(b"v".to_vec()), "same key for 4");
}

#[test]
fn a_version_of_a_generation_that_is_not_there_makes_no_keyrings() {
    let mut bundle = bundle();
    bundle.service.keyrings[0].versions.push(3);
    assert!(Keyrings::new(&bundle, &chain()).is_none());
}

#[test]
fn the_last_number_of_a_version_is_served_and_none_follows_it() {
    let mut bundle = bundle();
    bundle.service.keyrings[1].first_version = u32::MAX - 1;
    let machine = a_box_of(&bundle);
    let text = machine.encrypt(b"value");
    assert!(text.starts_with("cm1.pii.4294967295."), "{text}");
    assert_eq!(machine.decrypt(&text, "ssn"), Ok(b"value".to_vec()));
    bundle.service.keyrings[1].first_version = u32::MAX;
    assert!(Keyrings::new(&bundle, &chain()).is_none());
}

#[test]
fn aad_is_prefix_keyring_version_day_and_sorted_pairs_each_with_its_length() {
    let context = Context::from_pairs([("table", "users"), ("column", "ssn")]).expect("unique");
    let expected: &[u8] = b"\0\0\0\x03cm1\0\0\0\x03pii\0\0\0\x04\0\0\0\x04\0\0\0\x02\x51\x2d\
        \0\0\0\x06column\0\0\0\x03ssn\0\0\0\x05table\0\0\0\x05users";
    assert_eq!(aad("pii", 4, DAY, &context), expected);
    assert_eq!(Day(0x512d), DAY);
}

#[test]
fn a_value_of_64_kib_is_taken_and_one_byte_more_refused() {
    let machine = a_box();
    let value = vec![0xa5; limits::PLAINTEXT_BYTES + 1];
    let text = machine.encrypt(&value[1..]);
    assert_eq!(machine.decrypt(&text, "ssn").as_deref(), Ok(&value[1..]));
    let context = context("ssn");
    let permit = machine.permit(Operation::Encrypt, "pii", &context);
    let refused = machine.keyrings.encrypt(&permit, &value, NONCE, DAY);
    assert_eq!(refused.err(), Some(Cause::ValueTooLarge));
}

#[test]
fn texts_that_are_not_the_one_text_of_a_token_are_malformed() {
    let text = a_box().encrypt(b"v");
    let body = text.rsplit_once('.').expect("dots").1;
    assert_eq!(Token::parse(&text).map(|token| token.body.len()), Ok(2 + 24 + 2 + 16));
    let longest = "A".repeat(200_000);
    for bad in [
        String::new(),
        "cm1".into(),
        "cm1...".into(),
        format!("CM1.pii.4.{body}"),
        format!("cm2.pii.4.{body}"),
        format!(" cm1.pii.4.{body}"),
        format!("cm1.pii.4.{body}\n"),
        format!("cm1.pii.4.{body}=="),
        format!("cm1.pii.4.{body}."),
        format!("cm1.pii.04.{body}"),
        format!("cm1.pii.+4.{body}"),
        format!("cm1.pii.0.{body}"),
        format!("cm1.pii..{body}"),
        format!("cm1.pii.4294967296.{body}"),
        format!("cm1.pii.٤.{body}"),
        format!("cm1.Pii.4.{body}"),
        format!("cm1.-pii.4.{body}"),
        format!("cm1.{}.4.{body}", "p".repeat(33)),
        format!("cm1.pii.4.{}", body.replacen(|c: char| c.is_ascii_alphabetic(), "+", 1)),
        format!("cm1.pii.4.{}", &body[..56]),
        format!("cm1.pii.4.{longest}"),
    ] {
        assert_eq!(Token::parse(&bad).err(), Some(Cause::TokenMalformed), "{bad:.80}");
    }
    // 44 bytes are 59 characters, the last of which has two bits that must be zero.
    let last = body.bytes().last().expect("not empty");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|b| *b == last).expect("of the alphabet");
    for bits in 1..4 {
        let other = char::from(alphabet[value | bits]);
        let trailing = format!("{}{other}", &text[..text.len() - 1]);
        assert_eq!(Token::parse(&trailing).err(), Some(Cause::TokenMalformed), "{trailing}");
    }
}

#[test]
fn a_day_is_counted_from_1970_and_stays_at_its_last() {
    assert_eq!(Day::from_unix(0), Day(0));
    assert_eq!(Day::from_unix(86_399), Day(0));
    assert_eq!(Day::from_unix(1_795_500_000), Day(20_781));
    assert_eq!(Day::from_unix(u64::MAX), Day(u16::MAX));
}

proptest! {
    #[test]
    fn whatever_is_encrypted_decrypts_to_itself(
        value in proptest::collection::vec(any::<u8>(), 0..600),
        nonce in any::<[u8; NONCE_BYTES]>(),
        day in any::<u16>(),
        column in "\\PC{0,40}",
    ) {
        let machine = a_box();
        let context = context(&column);
        let permit = machine.permit(Operation::Encrypt, "pii", &context);
        let text = machine.keyrings.encrypt(&permit, &value, nonce, Day(day)).expect("made").encode();
        prop_assert_eq!(Token::parse(&text).expect("well-formed").day(), Day(day));
        prop_assert_eq!(machine.decrypt(&text, &column), Ok(value));
    }

    #[test]
    fn no_text_makes_the_token_parser_panic_and_what_it_takes_is_canonical(
        text in "\\PC{0,80}|cm1\\.[a-z0-9-]{0,34}\\.[0-9]{0,11}\\.[A-Za-z0-9_-]{0,120}",
    ) {
        if let Ok(token) = Token::parse(&text) {
            prop_assert_eq!(token.encode(), text);
        }
    }
}
