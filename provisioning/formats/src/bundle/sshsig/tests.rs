//! What `sshsig` promises, tested.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;
use crate::bundle::{
    armor::{dearmor, fingerprint, format_public_key, parse_public_key},
    example::{Key, golden},
    signature::NAMESPACE,
};

const MESSAGE: &[u8] = include_bytes!("../../../testdata/sshsig/message");

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../testdata/sshsig/", $name))
    };
}

fn verify(signature: &str, namespace: &str, message: &[u8]) -> Result<(), SshError> {
    Sshsig::parse(&dearmor(signature).unwrap()).unwrap().verify(namespace, message)
}

#[test]
fn signatures_by_ssh_keygen_hold() {
    for (signature, key) in [
        (vector!("ed25519.sig"), vector!("ed25519.pub")),
        (vector!("ed25519-sha256.sig"), vector!("ed25519.pub")),
        (vector!("ecdsa.sig"), vector!("ecdsa.pub")),
    ] {
        let blob = dearmor(signature).unwrap();
        let parsed = Sshsig::parse(&blob).unwrap();
        assert_eq!(parsed.public_key(), parse_public_key(key).unwrap());
        assert_eq!(parsed.verify(NAMESPACE, MESSAGE), Ok(()));
    }
}

#[test]
fn a_signature_for_another_namespace_or_message_is_refused() {
    assert_eq!(verify(vector!("ed25519-file.sig"), NAMESPACE, MESSAGE), Err(SshError::Namespace));
    assert_eq!(verify(vector!("ed25519.sig"), "file", MESSAGE), Err(SshError::Namespace));
    assert_eq!(verify(vector!("ed25519.sig"), NAMESPACE, b"x"), Err(SshError::Signature));
    assert_eq!(verify(vector!("ecdsa.sig"), NAMESPACE, b"x"), Err(SshError::Signature));
}

#[test]
fn rsa_keys_and_signatures_are_refused() {
    assert_eq!(parse_public_key(vector!("rsa.pub")), Err(SshError::Algorithm));
    assert_eq!(verify(vector!("rsa.sig"), NAMESPACE, MESSAGE), Err(SshError::Algorithm));
}

#[test]
fn all_four_kinds_hold_and_a_fido_signature_needs_a_touch() {
    for number in 0..4 {
        let key = Key::new(number);
        let fido = number >= 2;
        let touched = key.sign(NAMESPACE, MESSAGE, 0x01);
        assert_eq!(Sshsig::parse(&touched).unwrap().verify(NAMESPACE, MESSAGE), Ok(()));
        let verified = key.sign(NAMESPACE, MESSAGE, 0x05);
        assert_eq!(Sshsig::parse(&verified).unwrap().verify(NAMESPACE, MESSAGE), Ok(()));
        let untouched = key.sign(NAMESPACE, MESSAGE, 0x00);
        let expected = if fido { Err(SshError::Presence) } else { Ok(()) };
        assert_eq!(Sshsig::parse(&untouched).unwrap().verify(NAMESPACE, MESSAGE), expected);
    }
}

#[test]
fn fido_signatures_keep_their_bytes() {
    golden("sshsig/sk-ed25519.sshsig", &Key::new(2).sign(NAMESPACE, MESSAGE, 1));
    golden("sshsig/sk-ecdsa.sshsig", &Key::new(3).sign(NAMESPACE, MESSAGE, 1));
}

/// The FIDO vectors are made here, so `ssh-keygen` is asked whether it reads them the same way.
#[test]
fn ssh_keygen_verifies_what_this_code_takes_for_a_fido_signature() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let dir = std::env::temp_dir().join(format!("casemate-sshsig-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for number in 0..4 {
        let key = Key::new(number);
        let armoured = format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            STANDARD.encode(key.sign(NAMESPACE, MESSAGE, 1))
        );
        let signers = format!("ops {}\n", format_public_key(&key.public()).unwrap());
        std::fs::write(dir.join("sig"), armoured).unwrap();
        std::fs::write(dir.join("signers"), signers).unwrap();
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-n", NAMESPACE, "-I", "ops", "-f", "signers", "-s", "sig"])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("openssh-client is installed");
        child.stdin.take().unwrap().write_all(MESSAGE).unwrap();
        assert!(child.wait().unwrap().success(), "key {number}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn every_changed_byte_and_every_cut_is_refused_without_a_panic() {
    for number in 0..4 {
        let signature = Key::new(number).sign(NAMESPACE, MESSAGE, 1);
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            let held = Sshsig::parse(&changed).and_then(|s| s.verify(NAMESPACE, MESSAGE));
            assert!(held.is_err(), "key {number}, byte {at}");
            let cut = Sshsig::parse(&signature[..at]);
            assert!(cut.is_err(), "key {number}, cut at {at}");
        }
        let mut longer = signature;
        longer.push(0);
        assert_eq!(Sshsig::parse(&longer), Err(SshError::Malformed));
    }
}

#[test]
fn a_key_line_survives_its_text_and_must_name_its_own_kind() {
    let line = vector!("ed25519.pub");
    let blob = parse_public_key(line).unwrap();
    assert!(line.starts_with(&format_public_key(&blob).unwrap()));
    assert!(fingerprint(&blob).starts_with("SHA256:"));
    let other = line.replacen("ssh-ed25519", "ecdsa-sha2-nistp256", 1);
    assert_eq!(parse_public_key(&other), Err(SshError::Malformed));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = PublicKey::parse(&bytes);
        if let Ok(signature) = Sshsig::parse(&bytes) {
            let _ = signature.verify(NAMESPACE, b"");
        }
        let mut framed = b"SSHSIG\0\0\0\x01".to_vec();
        framed.extend(&bytes);
        let _ = Sshsig::parse(&framed);
    }
}
