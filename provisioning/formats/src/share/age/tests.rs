//! What `age` promises, tested.

use std::{fs, path::Path, process::Command};

use proptest::prelude::*;

use super::*;
use crate::bundle::example::{Counted, golden};

/// Runs one of age's own programs in `dir`.
fn run(dir: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|e| panic!("{program} (Debian package age): {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn age_itself_decrypts_what_is_written() {
    let dir = std::env::temp_dir().join(format!("casemate-age-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    run(&dir, "age-keygen", &["-o", "identity"]);
    let text = String::from_utf8(run(&dir, "age-keygen", &["-y", "identity"])).unwrap();
    let recipient = parse_recipient(text.trim()).unwrap();
    assert_eq!(format_recipient(&recipient), text.trim());
    for length in [0, 1, 33, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
        let plaintext: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let file = encrypt(&recipient, &plaintext, &mut Counted(length as u64)).unwrap();
        fs::write(dir.join("file.age"), file).unwrap();
        let decrypted = run(&dir, "age", &["-d", "-i", "identity", "file.age"]);
        assert!(decrypted == plaintext, "{length} bytes");
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// Wrapped to the public half of the scalar 9…9, so that anybody can open it.
#[test]
fn a_file_keeps_its_bytes() {
    let recipient = PublicKey::from(&StaticSecret::from([9; 32]));
    let file = encrypt(recipient.as_bytes(), b"a share, for example", &mut Counted(0)).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1\n-> X25519 "));
    golden("share/file.age", &file);
}

#[test]
fn a_recipient_of_low_order_is_refused() {
    assert_eq!(encrypt(&[0; 32], b"x", &mut Counted(0)), Err(AgeError::Recipient));
}

#[test]
fn text_that_is_no_recipient_is_refused() {
    let good = format_recipient(&[5; 32]);
    assert_eq!(parse_recipient(&good), Ok([5; 32]));
    for at in 0..good.len() {
        let mut bad = good.clone().into_bytes();
        bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
        let bad = String::from_utf8(bad).unwrap();
        assert_eq!(parse_recipient(&bad), Err(AgeError::Text), "{bad}");
    }
    for bad in ["", "age1", &good[..61], &format!("{good}q"), &good.to_uppercase()] {
        assert_eq!(parse_recipient(bad), Err(AgeError::Text));
    }
}

proptest! {
    #[test]
    fn every_recipient_survives_its_text(key: [u8; 32]) {
        prop_assert_eq!(parse_recipient(&format_recipient(&key)), Ok(key));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        let _ = parse_recipient(&text);
        let _ = parse_recipient(&format!("age1{text}"));
    }
}
