//! `casemate update` against a box that starts again by itself.

use std::{fs, sync::Arc, thread, time::Duration};

use casemate_formats::{
    anchors::Anchors,
    manifest::{FORMAT, File, Manifest, Signed},
};
use casemate_tests::{
    esps::{self, Esps, content},
    firmware_log::FirmwareLog,
    host::Host,
};
use serde_json::json;

use crate::ops::{Ops, Run};

/// A folder as `cargo image sign` leaves it, and the image's entry in images.toml.
fn image(ops: &Ops, number: u8) -> String {
    let (listed, esp) = (esps::image(number), content(number));
    let folder = ops.path(&format!("image{number}"));
    fs::create_dir_all(&folder).expect("a folder");
    let anchors = fs::read(ops.path("site/anchors")).expect("anchors");
    let file = |bytes: &[u8]| File {
        bytes: bytes.len() as u64,
        sha256: casemate_formats::digest::Digest::sha256(bytes),
    };
    let manifest = Manifest {
        format: FORMAT,
        version: "0.2.0".into(),
        namespace: "example".into(),
        anchors: file(&anchors).sha256,
        pcr11: listed.pcr11,
        authenticode: listed.authenticode,
        unsigned: file(b"a UKI"),
        signed: Some(Signed {
            uki: file(b"a signed UKI"),
            esp: file(&esp),
            certificate: file(b"db").sha256,
        }),
        sections: Vec::new(),
        sources: Vec::new(),
        packages: Vec::new(),
        products: Vec::new(),
    };
    fs::write(folder.join("manifest.json"), manifest.to_json()).expect("written");
    fs::write(folder.join("esp.img"), &esp).expect("written");
    folder.join("manifest.json").display().to_string()
}

/// An Operational box that runs image 1, of a site that lists images 1 and 2.
fn start(ops: &Ops) -> (Host, Arc<Esps>) {
    fs::remove_file(ops.path("site/images.toml")).expect("another image's");
    for number in [1, 2] {
        let manifest = image(ops, number);
        ops.on_site(&["bundle", "add-image", &manifest]).ok();
    }
    let esps = Esps::new().expect("two ESPs");
    let host = ops.boot_on(&esps).expect("a box");
    ops.host_add(&host, &host.ek.clone()).ok();
    ops.bundle();
    ops.establish();
    (host, esps)
}

/// Runs the update while somebody sees to it that a box which wants to start again does.
fn update(ops: &Ops, host: &mut Host, esps: &Esps, arguments: &[&str]) -> Run {
    let arguments = [&["update"], arguments].concat();
    thread::scope(|scope| {
        let run = scope.spawn(|| ops.on_host(&arguments, "ops"));
        let mut seen = esps.restarts().len();
        while !run.is_finished() {
            if esps.restarts().len() > seen {
                seen = esps.restarts().len();
                // An image whose root does not open leaves: then the firmware starts once more.
                while host.reboot().is_err() {}
            }
            thread::sleep(Duration::from_millis(20));
        }
        run.join().expect("the tool ends")
    })
}

#[test]
fn a_box_is_updated_waited_for_and_passed_over_the_next_time() {
    let ops = Ops::new().expect("a site");
    let (mut host, esps) = start(&ops);
    let done = update(&ops, &mut host, &esps, &["image2"]).ok();
    assert_eq!(done["boxes"][0]["outcome"], "updated");
    let status = ops.on_host(&["status"], "ops").ok();
    assert_eq!(
        (&status["image"], &status["update"]["state"], &status["update"]["esp"]),
        (&json!(esps::image(2).pcr11), &json!("none"), &json!("B"))
    );
    let again = update(&ops, &mut host, &esps, &["image2/esp.img"]).ok();
    assert_eq!(again["boxes"][0]["outcome"], "already");
    assert_eq!(esps.restarts().len(), 1);
}

#[test]
fn what_the_bundle_does_not_list_and_what_is_no_image_is_refused_before_anything_is_sent() {
    let ops = Ops::new().expect("a site");
    let (mut host, esps) = start(&ops);
    image(&ops, 3);
    let mut refused = |what: &str| update(&ops, &mut host, &esps, &[what]).refused();
    assert_eq!(refused("image3"), "image-unlisted");
    assert_eq!(refused("image2/manifest.json"), "image-length");
    fs::copy(ops.path("image1/esp.img"), ops.path("image2/esp.img")).expect("copied");
    assert_eq!(refused("image2"), "image-altered");
    image(&ops, 2);
    // Signed, but not pushed.
    ops.on_site(&["bundle", "new"]).ok();
    ops.on_site(&["bundle", "build"]).ok();
    let (s0, s1) = (ops.text("s0"), ops.text("s1"));
    ops.on_site(&["bundle", "sign", "--key", &s0, "--key", &s1, "--yes"]).ok();
    assert_eq!(refused("image2"), "stale-bundle");
    assert!(esps.is_whole(casemate_formats::efi::boot_entry::Esp::B, 1), "nothing was sent");
}

#[test]
fn a_box_that_comes_back_with_the_image_of_before_ends_the_round() {
    let ops = Ops::new().expect("a site");
    let (mut host, esps) = start(&ops);
    esps.set_patience(Duration::ZERO);
    assert_eq!(update(&ops, &mut host, &esps, &["image2"]).refused(), "fell-back");
    assert_eq!(ops.on_host(&["status"], "ops").ok()["update"]["state"], "failed");
}

#[test]
fn a_new_key_for_images_is_listed_with_the_pcr_7_that_follows_before_any_box_has_it() {
    let ops = Ops::new().expect("a site");
    let (host, _esps) = start(&ops);
    let added = ops.on_site(&["site", "new-db"]).ok();
    assert_eq!(added["certificates"], 2);

    let anchors = Anchors::decode(&fs::read(ops.path("site/anchors")).expect("anchors"));
    let later = FirmwareLog::boot(
        &anchors.expect("sound"),
        &esps::sections(1),
        esps::image(1).authenticode,
    );
    assert_eq!(added["listed"][0]["pcr7"], json!(later.pcrs()[7]));
    // What is known of the box as it runs says the same.
    let refreshed = ops.on_site(&["host", "refresh", "alpha", "--yes"]).ok();
    assert_eq!(refreshed["upcoming"], json!(later.pcrs()[7]));
    assert_eq!(refreshed["listed"], json!([refreshed["pcr7"], refreshed["upcoming"]]));
    // The box, which has the old db and old anchors, is still the site's, and takes the bundle.
    assert_eq!(ops.bundle()["outcome"], "in-force");
    assert_eq!(ops.on_host(&["status"], "ops").ok()["phase"], "operational");
    // And the value of the first image that the new key signs.
    let signed = ["host", "refresh", "alpha", "--yes", "--signed-by", "site/secure-boot/db.crt"];
    let signed = ops.on_site(&signed).ok();
    assert!(signed["upcoming"].is_string() && signed["upcoming"] != refreshed["upcoming"]);
    drop(host);
}
