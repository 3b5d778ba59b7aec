//! From parts to a signed disk, with `sbverify` and `sbsign` as oracles, and what is refused.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::*;
use crate::{
    initramfs,
    lock::Lock,
    sources::{self, Archive},
    uki::{self, Parts},
};

const ANCHORS: &[u8] = include_bytes!("../../../provisioning/formats/testdata/anchors.bin");
const STATE: u64 = 8 << 20;

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../provisioning/formats/testdata/efi").join(name)
}

/// What `cargo image build` leaves, around a kernel that only looks like one.
fn built(init: &[u8]) -> TempDir {
    built_for(init, ANCHORS)
}

fn built_for(init: &[u8], anchors: &[u8]) -> TempDir {
    let lock = Lock::parse(include_str!("../../sources.lock")).unwrap();
    let package = Archive::default().fetch(lock.get("systemd-stub").unwrap(), true).unwrap();
    let stub = fs::read(sources::stub(&package).unwrap()).unwrap();
    let mut kernel = vec![0x90; 300_003];
    kernel[..2].copy_from_slice(b"MZ");
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    let initrd = initramfs::pack(init, anchors).unwrap();
    let parts = Parts::new("0.1.0", kernel, initrd);
    let unsigned = uki::assemble(&stub, &parts).unwrap();
    let sources = vec![package.source];
    let manifest = manifest::of("0.1.0", anchors, &parts, &unsigned, sources, vec![]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(UNSIGNED), unsigned).unwrap();
    fs::write(folder.path().join(MANIFEST), manifest.to_json()).unwrap();
    folder
}

fn signed(init: &[u8]) -> TempDir {
    signed_for(init, ANCHORS)
}

/// What `cargo image sign` leaves for a site with these anchors.
pub(crate) fn signed_for(init: &[u8], anchors: &[u8]) -> TempDir {
    let folder = built_for(init, anchors);
    let key_file = key("test.key.pem");
    sign(folder.path(), Key::File(&key_file), &key("test.certificate.pem"), STATE).unwrap();
    folder
}

fn refusal<T>(result: Result<T>) -> String {
    format!("{:#}", result.err().expect("expected a refusal"))
}

#[test]
fn two_builds_of_the_same_inputs_are_the_same_bytes_down_to_the_disk() {
    let (one, two) = (signed(b"\x7fELF"), signed(b"\x7fELF"));
    for name in [UNSIGNED, SIGNED, ESP, DISK, MANIFEST] {
        let read = |folder: &TempDir| fs::read(folder.path().join(name)).unwrap();
        assert!(read(&one) == read(&two), "{name}");
    }
}

#[test]
fn sbverify_accepts_the_signature_and_only_with_our_certificate() {
    let folder = signed(b"\x7fELF");
    let sbverify = |certificate: &str| {
        Command::new("sbverify")
            .arg("--cert")
            .arg(key(certificate))
            .arg(folder.path().join(SIGNED))
            .output()
            .expect("sbverify is missing: `image/prepare` installs it")
    };
    let output = sbverify("test.certificate.pem");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    assert!(!words.contains("warning"), "{words}");
    assert!(!sbverify("test.other.certificate.pem").status.success());
}

#[test]
fn a_uki_signed_elsewhere_is_taken_when_it_is_the_built_one() {
    let folder = built(b"\x7fELF");
    let elsewhere = folder.path().join("elsewhere.efi");
    let sbsign = |input: &Path| {
        let output = Command::new("sbsign")
            .arg("--key")
            .arg(key("test.key.pem"))
            .arg("--cert")
            .arg(key("test.certificate.pem"))
            .arg("--output")
            .arg(&elsewhere)
            .arg(input)
            .output()
            .expect("sbsign is missing: `image/prepare` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let certificate = key("test.certificate.pem");
    let take = || sign(folder.path(), Key::SignedUki(&elsewhere), &certificate, STATE);

    sbsign(&folder.path().join(UNSIGNED));
    let manifest = take().unwrap();
    assert_eq!(
        manifest.authenticode,
        manifest::read(&folder.path().join(MANIFEST)).unwrap().authenticode
    );
    verify(&folder.path().join(DISK), &manifest, Some(&certificate)).unwrap();

    sbsign(&built(b"\x7fELF another").path().join(UNSIGNED));
    assert!(refusal(take()).contains("expected a signed form of the UKI"));
    fs::copy(folder.path().join(UNSIGNED), &elsewhere).unwrap();
    assert!(refusal(take()).contains("not signed"));
}

#[test]
fn a_manifest_of_another_uki_and_a_key_of_another_certificate_are_refused() {
    let folder = built(b"\x7fELF");
    let (ours, other) = (key("test.key.pem"), key("test.other.certificate.pem"));
    let foreign = sign(folder.path(), Key::File(&ours), &other, STATE);
    assert!(refusal(foreign).contains("another key"));

    let another = built(b"\x7fELF another");
    fs::copy(another.path().join(UNSIGNED), folder.path().join(UNSIGNED)).unwrap();
    let swapped = sign(folder.path(), Key::File(&ours), &key("test.certificate.pem"), STATE);
    assert!(refusal(swapped).contains("expected the UKI that the manifest describes"));
}

#[test]
fn verify_finds_one_changed_byte_in_either_esp_and_a_foreign_signature() {
    let folder = signed(b"\x7fELF");
    let manifest = manifest::read(&folder.path().join(MANIFEST)).unwrap();
    let disk = folder.path().join(DISK);
    let checked = verify(&disk, &manifest, Some(&key("test.certificate.pem"))).unwrap();
    assert_eq!(checked.len(), 5, "{checked:?}");
    let foreign = verify(&disk, &manifest, Some(&key("test.other.certificate.pem")));
    assert!(refusal(foreign).contains("signature"));

    let good = fs::read(&disk).unwrap();
    for (at, name) in [(3 << 20, "ESP A"), (80 << 20, "ESP B")] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&disk, bad).unwrap();
        assert!(refusal(verify(&disk, &manifest, None)).contains(name));
    }
}

#[test]
fn the_bill_of_materials_has_sources_packages_and_crates() {
    let folder = built(b"\x7fELF");
    let manifest = manifest::read(&folder.path().join(MANIFEST)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = crate::sbom::crates(root).unwrap();
    assert!(crates.len() > 50, "{}", crates.len());
    let document = crate::sbom::document(&manifest, &crates);
    let names: Vec<&str> = document["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    for expected in ["systemd-stub", "libmbedtls-dev", "rustc", "rustls", "tss-esapi"] {
        assert!(names.contains(&expected), "{expected}");
    }
}
