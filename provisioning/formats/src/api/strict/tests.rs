//! What the service takes, and everything near it that it does not.

use proptest::prelude::*;

use super::*;
use crate::{
    api::{Batch, Decrypt, Encrypt},
    limits::BATCH_ITEMS,
};

const GOOD: &str =
    r#"{"keyring":"pii","context":{"table":"users","column":"ssn"},"plaintext":"aGk="}"#;

fn refused(body: impl AsRef<[u8]>) -> &'static str {
    match parse::<Encrypt>(body.as_ref()) {
        Ok(_) => panic!("taken: {}", String::from_utf8_lossy(body.as_ref())),
        Err(malformed) => malformed.what,
    }
}

fn plaintext(base64: &str) -> Result<Vec<u8>, Malformed> {
    let body = GOOD.replace("aGk=", base64);
    parse::<Encrypt>(body.as_bytes()).map(|item| item.plaintext.to_vec())
}

#[test]
fn an_item_is_read_whole_with_its_context_sorted() {
    let item = parse::<Encrypt>(GOOD.as_bytes()).expect("good");
    assert_eq!((item.keyring.as_str(), item.plaintext.as_slice()), ("pii", &b"hi"[..]));
    assert_eq!(item.context.iter().collect::<Vec<_>>(), [("column", "ssn"), ("table", "users")]);
    assert_eq!(item.reference, None);
}

#[test]
fn an_unknown_field_is_refused_at_every_level() {
    assert_eq!(refused(GOOD.replace("{\"keyring", "{\"nonce\":\"\",\"keyring")), KIND_UNKNOWN);
    let batch = format!(r#"{{"items":[{GOOD}],"more":1}}"#);
    assert_eq!(parse::<Batch<Encrypt>>(batch.as_bytes()).err().map(|e| e.what), Some(KIND_UNKNOWN));
    let batch = format!(r#"{{"items":[{}]}}"#, GOOD.replace("keyring", "Keyring"));
    assert_eq!(parse::<Batch<Encrypt>>(batch.as_bytes()).err().map(|e| e.what), Some(KIND_UNKNOWN));
}

const KIND_UNKNOWN: &str = "a field that this route does not know";

#[test]
fn a_duplicate_key_is_refused_at_every_level() {
    let twice = "a field that stands twice";
    assert_eq!(refused(GOOD.replace("{\"keyring", "{\"keyring\":\"pii\",\"keyring")), twice);
    assert_eq!(
        refused(GOOD.replace("\"table", "\"column\":\"ssn\",\"table")),
        "a context name that stands twice"
    );
    // The same name, once escaped.
    assert_eq!(
        refused(GOOD.replace("\"table", "\"col\\u0075mn\":\"x\",\"table")),
        "a context name that stands twice"
    );
    assert_eq!(refused(GOOD.replace("{\"keyring", "{\"keyr\\u0069ng\":\"pii\",\"keyring")), twice);
    for batch in [
        format!(r#"{{"items":[],"items":[{GOOD}]}}"#),
        format!(
            r#"{{"items":[{}]}}"#,
            GOOD.replace("{\"keyring", "{\"keyring\":\"pii\",\"keyring")
        ),
    ] {
        assert_eq!(parse::<Batch<Encrypt>>(batch.as_bytes()).err().map(|e| e.what), Some(twice));
    }
}

#[test]
fn base64_has_one_text() {
    assert_eq!(plaintext(""), Ok(Vec::new()));
    assert_eq!(plaintext("aGk="), Ok(b"hi".to_vec()));
    assert_eq!(plaintext("aA=="), Ok(b"h".to_vec()));
    assert_eq!(
        plaintext("-_-_").map_err(|e| e.what).err(),
        Some("not canonical base64 (standard alphabet, with padding)")
    );
    for bad in [
        "aGk",
        "aGk==",
        "aGl=",
        "aB==",
        "aA=",
        "aA",
        "a",
        "aGk=aGk=",
        " aGk=",
        "aGk=\\n",
        "aG k=",
        "aGk=\\u0000",
        "=",
        "====",
        "aGk-",
        "aGk_",
        "YWJj====",
    ] {
        assert!(plaintext(bad).is_err(), "{bad}");
    }
    // JSON may escape what base64 uses: that is the same text.
    assert_eq!(plaintext("\\/\\u002b\\/+"), Ok(vec![0xff, 0xef, 0xfe]));
}

#[test]
fn an_array_is_never_taken_for_an_object() {
    let array = r#"["r","pii",{},"aGk="]"#;
    assert_eq!(refused(array), "a value of the wrong type");
    assert!(serde_json::from_str::<Encrypt>(array).is_ok(), "serde alone would take it");
    let batch = format!(r#"{{"items":[{array}]}}"#);
    assert!(parse::<Batch<Encrypt>>(batch.as_bytes()).is_err());
    assert!(parse::<Batch<Encrypt>>(b"[[]]").is_err());
    let collected = parse::<crate::api::Collected>(b"[1]");
    assert!(collected.is_err());
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for (field, values) in [
        ("\"pii\"", &["1", "null", "[]", "{}", "true"][..]),
        (
            "{\"table\":\"users\",\"column\":\"ssn\"}",
            &["[]", "\"\"", "null", "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}"],
        ),
        ("\"aGk=\"", &["1", "null", "[104,105]", "{}"]),
    ] {
        for value in values {
            refused(GOOD.replace(field, value));
        }
    }
    refused(GOOD.replace("{\"keyring", "{\"ref\":1,\"keyring"));
    refused(GOOD.replace("\"keyring\":\"pii\",", ""));
    refused(GOOD.replace(",\"plaintext\":\"aGk=\"", ""));
}

#[test]
fn text_that_is_not_unicode_is_refused() {
    for escape in
        ["\\ud800", "\\udc00", "\\ud800\\u0041", "\\udc00\\ud800", "\\uD83Dx", "\\u12", "\\x41"]
    {
        assert_eq!(refused(GOOD.replace("ssn", escape)), "not JSON in UTF-8", "{escape}");
        assert_eq!(refused(GOOD.replace("column", escape)), "not JSON in UTF-8", "{escape}");
    }
    let pair = GOOD.replace("ssn", "\\uD83D\\uDE00");
    assert_eq!(
        parse::<Encrypt>(pair.as_bytes()).expect("a pair").context.get("column"),
        Some("😀")
    );
    for bytes in
        [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00", b"\n", b"\t"]
    {
        let at = GOOD.find("ssn").expect("there");
        let body = [&GOOD.as_bytes()[..at], bytes, &GOOD.as_bytes()[at..]].concat();
        refused(body);
    }
}

#[test]
fn nothing_but_one_object_is_a_body() {
    for body in [
        "",
        " ",
        "null",
        "1",
        "\"\"",
        "[]",
        "{}",
        "{",
        "{]",
        "\u{feff}{}",
        "{}{}",
        "// c\n{}",
        "{'a':1}",
    ] {
        refused(body);
    }
    for tail in ["x", "{}", ",", "\0", "//"] {
        refused(format!("{GOOD}{tail}"));
    }
    assert!(parse::<Encrypt>(format!(" {GOOD}\r\n").as_bytes()).is_ok());
    refused(GOOD.replace("\"aGk=\"}", "\"aGk=\",}"));
}

#[test]
fn deep_nesting_ends_early_wherever_it_stands() {
    let deep = "[".repeat(100_000);
    refused(&deep);
    refused(format!(r#"{{"items":{deep}"#));
    let items = vec![r#"{"token":""}"#; BATCH_ITEMS + 1].join(",");
    let batch = format!(r#"{{"items":[{items},{deep}"#);
    assert!(parse::<Batch<Decrypt>>(batch.as_bytes()).is_err());
}

#[test]
fn a_batch_is_read_to_one_item_more_than_fits() {
    let batch = |count: usize| {
        let items = vec![r#"{"token":"t"}"#; count].join(",");
        let body = format!(r#"{{"items":[{items}]}}"#);
        parse::<Batch<Decrypt>>(body.as_bytes()).expect("well-formed").items.len()
    };
    assert_eq!(batch(0), 0);
    assert_eq!(batch(BATCH_ITEMS), BATCH_ITEMS);
    assert_eq!(batch(BATCH_ITEMS + 1), BATCH_ITEMS + 1);
    assert_eq!(batch(5 * BATCH_ITEMS), BATCH_ITEMS + 1);
}

#[test]
fn a_context_of_more_names_than_any_keyring_has_is_refused_while_it_is_read() {
    let names =
        |count: usize| (0..count).map(|n| format!("\"n{n}\":\"\"")).collect::<Vec<_>>().join(",");
    let body = |count| GOOD.replace(r#""table":"users","column":"ssn""#, &names(count));
    assert!(parse::<Encrypt>(body(32).as_bytes()).is_ok());
    assert_eq!(refused(body(33)), "more context names than any keyring has");
}

#[test]
fn what_was_wrong_is_told_without_the_input() {
    for body in [
        r#"{"canary-word":1}"#,
        r#"{"keyring":"canary-word","keyring":"canary-word"}"#,
        r#"{"keyring":"pii","plaintext":"canary-word"}"#,
        r#"{"keyring":["canary-word"]}"#,
        "canary-word",
    ] {
        let text = parse::<Encrypt>(body.as_bytes()).err().expect("refused").to_string();
        assert!(text.starts_with("line 1, column ") && !text.contains("canary-word"), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse::<Encrypt>(&body);
        let _ = parse::<Batch<Decrypt>>(&body);
        let _ = parse::<crate::request::Ask>(&body);
    }

    #[test]
    fn what_a_client_writes_is_what_the_service_reads(
        keyring in "\\PC{0,20}",
        reference in proptest::option::of("\\PC{0,20}"),
        pairs in proptest::collection::btree_map("\\PC{0,9}", "\\PC{0,20}", 0..6),
        value in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let context = crate::api::Context::from_pairs(pairs).expect("unique");
        let plaintext = zeroize::Zeroizing::new(value);
        let item = Encrypt { reference, keyring, context, plaintext };
        let body = serde_json::to_vec(&item).expect("serializes");
        let back = parse::<Encrypt>(&body).expect("reads");
        prop_assert_eq!((back.reference, back.keyring, back.context), (item.reference, item.keyring, item.context));
        prop_assert_eq!(back.plaintext.as_slice(), item.plaintext.as_slice());
    }
}
