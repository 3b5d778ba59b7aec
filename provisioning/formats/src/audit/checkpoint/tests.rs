//! Checkpoints: a golden note, and everything that is not one.

use proptest::prelude::*;

use super::*;
use crate::{bundle::body::Label, golden::golden};

fn of() -> Origin {
    let label = |text| Label::parse(text).expect("a name");
    Origin { namespace: label("example"), host: label("box-1") }
}

fn signed() -> (String, String, [u8; 32]) {
    let key = key(&[7; 32]);
    let origin = origin(&of(), &Digest([9; 32]));
    let checkpoint =
        Checkpoint { origin: origin.clone(), size: 12_345, root: Digest::sha256(b"root") };
    (sign(&checkpoint, &key), origin, key.verifying_key().to_bytes())
}

#[test]
fn a_checkpoint_has_the_bytes_it_always_had() {
    golden("audit/checkpoint.v1.note", signed().0.as_bytes());
}

/// C2SP signed-note, the example of its text.
#[test]
fn a_note_of_others_verifies_as_far_as_it_is_a_checkpoint() {
    // Key of the specification's example: `PeterNeumann+c74f20a3+AR…`.
    let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").expect("base64");
    let key: [u8; 32] = key[1..].try_into().expect("32 bytes");
    let verifying = VerifyingKey::from_bytes(&key).expect("a key");
    assert_eq!(crate::digest::hex(&key_id("PeterNeumann", &verifying)), "c74f20a3");
}

#[test]
fn a_signed_checkpoint_verifies() {
    let (note, origin, key) = signed();
    let checkpoint = verify(&note, &origin, &key).expect("verifies");
    assert_eq!((checkpoint.size, checkpoint.root), (12_345, Digest::sha256(b"root")));
}

#[test]
fn signatures_of_witnesses_are_passed_over() {
    let (note, origin, key) = signed();
    let cosigned = format!("{note}\u{2014} witness.example {}\n", STANDARD.encode([0; 76]));
    assert!(verify(&cosigned, &origin, &key).is_ok());
}

#[test]
fn another_log_or_key_is_refused_by_name() {
    let (note, origin, key) = signed();
    assert_eq!(verify(&note, "example/box-2/00", &key), Err(CheckpointError::Origin));
    let other = super::key(&[8; 32]).verifying_key().to_bytes();
    assert_eq!(verify(&note, &origin, &other), Err(CheckpointError::Signature));
}

#[test]
fn any_changed_byte_is_refused() {
    let (note, origin, key) = signed();
    for at in 0..note.len() {
        for bit in 0..7 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            assert!(verify(&changed, &origin, &key).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_size_has_one_writing() {
    let (note, origin, key) = signed();
    for size in ["012345", "+12345", " 12345", "12345 "] {
        let changed = note.replacen("12345", size, 1);
        assert_eq!(verify(&changed, &origin, &key), Err(CheckpointError::Format), "{size}");
    }
}

proptest! {
    #[test]
    fn no_text_upsets_the_verifier(text in ".{0,300}") {
        prop_assert!(verify(&text, "example", &[0; 32]).is_err());
    }
}
