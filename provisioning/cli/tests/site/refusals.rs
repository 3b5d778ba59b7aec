//! What is refused, by name.

use std::fs;

use casemate_formats::digest::Digest;

use crate::workbench::Workbench;

const ROOT: [u8; 32] = [0x5a; 32];

#[test]
fn a_new_site_needs_signers_and_custodians() {
    let bench = Workbench::new();
    for arguments in [
        &["site", "init", "site"][..],
        &["site", "init", "site", "--namespace", "a"],
        &["site", "init", "site", "--namespace", "a", "--signer", "ann.pub"],
    ] {
        let said = bench.casemate(arguments);
        assert_eq!((said.code, said.refusal()), (2, "usage"), "{}", said.raw);
        assert!(!bench.path("site/site.toml").exists());
    }
    let mut bad = vec!["site", "init", "site", "--namespace", "Example", "--signer", "ann.pub"];
    bad.extend(["--custodian", "ann=age1x"]);
    bench.refused(&bad, "out-of-range");
    bad[4] = "example";
    bench.refused(&bad, "out-of-range");
}

#[test]
fn another_namespace_or_threshold_for_an_existing_site() {
    let bench = Workbench::new();
    bench.init();
    bench.refused(&["site", "init", "site", "--namespace", "other"], "site-exists");
    bench.refused(&["site", "init", "site", "--threshold", "1"], "site-exists");
    bench.refused(&["site", "init", "site", "--signer", "eve.pub"], "site-exists");
}

#[test]
fn a_site_without_an_image() {
    let bench = Workbench::new();
    bench.init();
    bench.refused(&["bundle", "check", "--site", "site"], "inconsistent");
    let said = bench.casemate(&["bundle", "check", "--site", "site"]);
    assert_eq!(said.json["failure"]["details"][0]["place"], "images.toml");
}

#[test]
fn images_of_other_anchors_unsigned_ones_and_a_fifth() {
    let bench = Workbench::new();
    bench.init();
    let add = ["bundle", "add-image", "--site", "site", "manifest.json"];
    let mut manifest = bench.manifest();
    manifest.anchors = Digest::ZERO;
    bench.write_manifest(&manifest);
    bench.refused(&add, "foreign-anchors");
    let mut manifest = bench.manifest();
    manifest.signed = None;
    bench.write_manifest(&manifest);
    bench.refused(&add, "image-not-signed");
    let mut manifest = bench.manifest();
    for number in 0..5 {
        manifest.pcr11 = Digest([number; 32]);
        bench.write_manifest(&manifest);
        if number < 4 {
            bench.good(&add);
        } else {
            bench.refused(&add, "table-too-large");
        }
    }
}

#[test]
fn a_typing_error_names_its_place() {
    let bench = Workbench::ready();
    bench.edit("site/bundle.toml", "port = 8443", "prot = 8443");
    let said = bench.casemate(&["bundle", "check", "--site", "site"]);
    assert_eq!((said.code, said.refusal()), (1, "malformed-file"), "{}", said.raw);
    assert!(said.raw.contains("prot"), "{}", said.raw);
}

#[test]
fn a_signer_who_is_not_anchored_and_signatures_of_something_else() {
    let bench = Workbench::ready();
    bench.good(&["bundle", "build", "--site", "site", "--body", "to-sign"]);
    let sign = ["bundle", "sign", "--site", "site", "--yes"];
    bench.refused(&[&sign[..], &["--key", "eve"]].concat(), "not-a-signer");
    bench.ssh_keygen_sign("bob", "file", "to-sign");
    bench.refused(&[&sign[..], &["--signature", "to-sign.sig"]].concat(), "signature");
    fs::write(bench.path("other"), b"other").unwrap();
    bench.ssh_keygen_sign("bob", "casemate.bundle.v1", "other");
    bench.refused(&[&sign[..], &["--signature", "other.sig"]].concat(), "signature");
    let nobody = ["bundle", "sign", "--site", "site", "--key", "ann"];
    let said = bench.casemate(&nobody);
    assert_eq!((said.code, said.refusal()), (2, "needs-confirmation"));
    let shown = bench.good(&["bundle", "show", "--site", "site"]);
    assert_eq!(shown["signers"].as_array().unwrap().len(), 0);
}

#[test]
fn a_signed_number_is_not_used_for_another_body() {
    let bench = Workbench::ready();
    bench.signed();
    bench.edit("site/bundle.toml", "port = 8443", "port = 8444");
    bench.refused(&["bundle", "build", "--site", "site"], "seq-fork");
    bench.good(&["bundle", "new", "--site", "site"]);
    bench.good(&["bundle", "build", "--site", "site"]);
}

#[test]
fn a_damaged_bundle_file() {
    let bench = Workbench::ready();
    bench.signed();
    let path = bench.path("site/bundles/000001.bundle");
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    bench.refused(&["bundle", "show", "--site", "site"], "trailing-bytes");
    bytes.truncate(100);
    fs::write(&path, &bytes).unwrap();
    bench.refused(&["bundle", "show", "--site", "site"], "truncated");
    fs::write(&path, vec![0; 10_000_000]).unwrap();
    bench.refused(&["bundle", "show", "--site", "site"], "too-large");
}

/// A site whose first bundle is signed, and `share ack` of ann.
fn asked() -> (Workbench, casemate_formats::bundle::Verified) {
    let bench = Workbench::ready();
    let bundle = bench.signed();
    (bench, bundle)
}

const ACK: [&str; 7] =
    ["share", "ack", "site/genesis/1-1.json", "--site", "site", "--identity", "ann.age"];

#[test]
fn an_answer_that_was_swapped_on_the_way() {
    let (bench, bundle) = asked();
    let mut swapped = bench.answer(&bundle, &ROOT);
    swapped.shares = bench.answer(&bundle, &[1; 32]).shares;
    bench.write_answer(&bundle, swapped);
    bench.refused(&ACK, "genesis-altered");
    assert!(!bench.path("site/acks").exists());
}

#[test]
fn a_share_that_is_not_the_one_the_box_committed_to() {
    let (bench, bundle) = asked();
    let mut mixed = bench.answer(&bundle, &ROOT);
    mixed.commitments[0] = mixed.commitments[1];
    let mixed = bench.spoken.answer(mixed);
    bench.write_answer(&bundle, mixed);
    bench.refused(&ACK, "wrong-commitment");
    let mut exchanged = bench.answer(&bundle, &ROOT);
    exchanged.fingerprint = Digest::ZERO;
    let exchanged = bench.spoken.answer(exchanged);
    bench.write_answer(&bundle, exchanged);
    bench.refused(&ACK, "genesis-altered");
}

#[test]
fn an_answer_whose_bundle_is_not_signed_by_the_sites_signers() {
    let (bench, bundle) = asked();
    bench.write_answer(&bundle, bench.answer(&bundle, &ROOT));
    bench.edit("site/site.toml", "threshold = 2", "threshold = 1");
    fs::copy(bench.path("eve.pub"), bench.path("other.pub")).unwrap();
    let age = bench.read("ann.age");
    let recipient = age.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let custodian = format!("ann={recipient}");
    let other = ["site", "init", "other", "--namespace", "example", "--signer", "other.pub"];
    bench.good(&[&other[..], &["--custodian", &custodian]].concat());
    let ack = ["share", "ack", "site/genesis/1-1.json", "--site", "other", "--identity", "ann.age"];
    bench.refused(&ack, "too-few-signatures");
}

#[test]
fn an_identity_that_holds_no_share() {
    let (bench, bundle) = asked();
    bench.write_answer(&bundle, bench.answer(&bundle, &ROOT));
    let mut ack = ACK;
    ack[6] = "eve.age";
    bench.refused(&ack, "no-share");
    let named = [&ACK[..], &["--custodian", "bob"]].concat();
    bench.refused(&named, "no-share");
    let missing = [&ACK[..], &["--age", "no-such-program"]].concat();
    assert_eq!(bench.casemate(&missing).code, 2);
}

#[test]
fn a_wrong_acknowledgement_keeps_the_root_out_of_the_bundle() {
    let (bench, bundle) = asked();
    bench.write_answer(&bundle, bench.answer(&bundle, &ROOT));
    bench.good(&ACK);
    let path = "site/acks/1-1/ann.json";
    let ack: casemate_formats::genesis::Ack = serde_json::from_str(&bench.read(path)).unwrap();
    bench.edit(path, &ack.ack.to_string(), &Digest::ZERO.to_string());
    bench.refused(&["bundle", "build", "--site", "site"], "wrong-ack");
}

#[test]
fn no_output_shows_a_share_or_a_private_key() {
    let (bench, bundle) = asked();
    let answer = bench.answer(&bundle, &ROOT);
    bench.write_answer(&bundle, answer);
    let said = bench.casemate(&ACK);
    assert_eq!(said.code, 0);
    let plaintext = bench.age("ann", "example-1-1-ann.share.age");
    let file = casemate_formats::share::ShareFile::decode(&plaintext).unwrap();
    let hex = casemate_formats::digest::hex(file.share.expose_bytes());
    assert!(!said.raw.contains(&hex[2..]) && !said.raw.contains("AGE-SECRET-KEY"));
}
