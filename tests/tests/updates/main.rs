//! A box changes its image: taken, tried once, committed by the first who is answered; left behind
//! otherwise. Real rooms, two ESPs in memory, a firmware in software. What only a real firmware can
//! show is in `tests/qemu/updates.rs`.

#![allow(clippy::unwrap_used)]

mod db;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_appliance::{
    state::State,
    update::{Start, Updates},
};
use casemate_core::update::Boot;
use casemate_formats::{
    api::{Blocks, Health, ImageTaken, Status},
    audit::record::{Event, Outcome, Record},
    bundle::body::Image,
    code::Code,
    digest::Digest,
    efi::boot_entry::Esp,
};
use casemate_tests::{
    calls::{decrypt, encrypt, plaintext},
    client::{Answer, Client},
    disk::{Cut, TestDisk},
    esps::{self, Esps, content},
    host::{Host, Options, Until},
};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// An Operational box of image 1 whose bundle lists these images as well.
fn listing(esps: &Arc<Esps>, others: &'static [u8]) -> Host {
    let change = Box::new(move |bundle: &mut casemate_formats::bundle::Bundle| {
        for number in others {
            bundle.images.push(esps::image(*number)).unwrap();
        }
    });
    let esps = Some(Arc::clone(esps));
    Host::with(Options { change: Some(change), esps, ..Options::default() }).expect("a box")
}

/// The same, which runs image 2 since, committed.
fn updated(esps: &Arc<Esps>, others: &'static [u8]) -> Host {
    let mut host = listing(esps, others);
    put(&host, 2).ok::<ImageTaken>().unwrap();
    host.reboot().unwrap();
    let _ = status(&host);
    wait("it is committed", || ready(&host).reasons.is_empty());
    host
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Digest::sha256(bytes).0))
}

fn put_as(client: &Client, announced: &[u8], body: &[u8]) -> Answer {
    let announced = digest(announced);
    let headers = [OCTETS, ("Content-Digest", announced.as_str())];
    client.connect().unwrap().send("PUT", "/v1/image", &headers, Some(body)).unwrap()
}

fn put(host: &Host, number: u8) -> Answer {
    let content = content(number);
    put_as(&host.client("operate").unwrap(), &content, &content)
}

fn status(host: &Host) -> Status {
    host.client("monitor").unwrap().get("/v1/status").unwrap().ok().unwrap()
}

fn ready(host: &Host) -> Health {
    serde_json::from_slice(&host.nobody().unwrap().get("/readyz").unwrap().body).unwrap()
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let started = Instant::now();
    while !until() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn with_images(host: &Host, images: &[Image]) -> casemate_formats::bundle::Bundle {
    let mut bundle = host.bundle.clone().unwrap();
    bundle.site.seq += 1;
    bundle.images = images.iter().cloned().collect();
    bundle
}

/// How the calls of these endpoints ended, and which alarms there were, in the order of the log.
fn recorded(host: &Host) -> Vec<String> {
    let audit = host.client("audit").unwrap();
    let mut from = 0;
    let mut out = Vec::new();
    loop {
        let path = format!("/v1/audit/blocks?from={from}&wait=3");
        let blocks: Blocks = audit.get(&path).unwrap().ok().unwrap();
        if blocks.blocks.is_empty() {
            return out;
        }
        for block in blocks.blocks {
            from = block.number + 1;
            for record in Record::decode_all(&block.records).unwrap() {
                match record.event {
                    Event::Call { endpoint, outcome, .. } => out.push(match outcome {
                        Outcome::Done => format!("{} done", endpoint.as_str()),
                        Outcome::Refused(code) | Outcome::Invalid(code) => {
                            format!("{} {}", endpoint.as_str(), code.as_str())
                        }
                    }),
                    Event::Alarm { name, .. } => out.push(name.as_str().to_owned()),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn an_image_is_tried_once_and_stays_once_somebody_known_was_answered() {
    let esps = Esps::new().unwrap();
    let mut host = listing(&esps, &[2]);
    let mut web = host.client("web").unwrap().connect().unwrap();
    let token = encrypt(&mut web, "1", b"kept over updates").unwrap();
    drop(web);

    let taken: ImageTaken = put(&host, 2).ok().unwrap();
    assert_eq!((taken.image, taken.esp.as_str()), (esps::image(2).pcr11, "B"));
    wait("the box starts again", || esps.restarts().len() == 1);
    assert!(esps.is_whole(Esp::B, 2) && esps.is_whole(Esp::A, 1));
    // Nothing comes into force that the image on trial may not be listed in.
    let envelope = host.site.sign(&with_images(&host, &[esps::image(1)])).unwrap();
    assert!(host.push(&envelope).unwrap_err().to_string().contains(Code::Trial.slug()));

    host.reboot().expect("the other image");
    let health = ready(&host);
    assert!(health.ready && health.reasons == ["trial"], "{health:?}");
    assert_eq!(esps.order().unwrap()[0], Esp::A, "not committed by strangers");
    assert!(host.push(&envelope).unwrap_err().to_string().contains(Code::Trial.slug()));
    let in_force = host.site.sign(host.bundle.as_ref().unwrap()).unwrap();
    assert_eq!(host.push(&in_force).unwrap().outcome, "again");
    assert_eq!(put(&host, 1).code().unwrap(), Code::Trial.slug());

    let mut web = host.client("web").unwrap().connect().unwrap();
    let answer = decrypt(&mut web, "1", &token).unwrap();
    assert_eq!(plaintext(&answer).unwrap(), b"kept over updates");
    wait("it is committed", || ready(&host).reasons.is_empty());
    assert_eq!(esps.order().unwrap()[0], Esp::B);
    let now = status(&host);
    assert_eq!((now.image, now.update.state.as_str()), (esps::image(2).pcr11, "none"));
    drop(web);
    host.reboot().unwrap();
    assert_eq!(status(&host).image, esps::image(2).pcr11);
    assert_eq!(ready(&host).reasons, [""; 0]);
    let recorded = recorded(&host);
    let updates: Vec<_> = recorded.iter().filter(|word| word.starts_with("image")).collect();
    assert_eq!(updates, ["image done", "image trial", "image-commit done"], "{recorded:?}");
}

#[test]
fn a_refused_item_commits_no_image() {
    let esps = Esps::new().unwrap();
    let mut host = listing(&esps, &[2]);
    put(&host, 2).ok::<ImageTaken>().unwrap();
    host.reboot().unwrap();
    let mut web = host.client("web").unwrap().connect().unwrap();
    assert_eq!(decrypt(&mut web, "1", "cm1.pii.1.AAAA").unwrap().status, 422);
    assert_eq!(host.client("web").unwrap().get("/livez").unwrap().status, 200);
    assert_eq!(host.client("monitor").unwrap().get("/v1/bundel").unwrap().status, 404);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((ready(&host).reasons, esps.order().unwrap()[0]), (vec!["trial".into()], Esp::A));
}

#[test]
fn an_image_that_nobody_asks_goes_back_and_is_not_tried_again() {
    let esps = Esps::new().unwrap();
    let mut host = listing(&esps, &[2]);
    put(&host, 2).ok::<ImageTaken>().unwrap();
    wait("the box starts again", || esps.restarts().len() == 1);
    esps.set_patience(Duration::ZERO);
    host.reboot().unwrap();
    wait("the trial ends", || esps.restarts().len() == 2);
    host.reboot().unwrap();
    let now = status(&host);
    assert_eq!((now.image, now.update.state.as_str()), (esps::image(1).pcr11, "failed"));
    assert_eq!(now.update.image, Some(esps::image(2).pcr11));
    host.reboot().unwrap();
    assert_eq!(status(&host).image, esps::image(1).pcr11);
    assert!(recorded(&host).contains(&"image-went-back".to_owned()));
}

#[test]
fn an_image_whose_root_does_not_open_leaves_before_it_serves() {
    let esps = Esps::new().unwrap();
    let other = |bundle: &mut casemate_formats::bundle::Bundle| {
        // Signed as listed, but it measures something else.
        bundle.images.push(Image { pcr11: Digest([9; 32]), ..esps::image(2) }).unwrap();
    };
    let options = Options {
        change: Some(Box::new(other)),
        esps: Some(Arc::clone(&esps)),
        ..Options::default()
    };
    let mut host = Host::with(options).unwrap();
    put(&host, 2).ok::<ImageTaken>().unwrap();
    wait("the box starts again", || esps.restarts().len() == 1);
    // Its own PCR 11 is not the announced one: nothing says that this is the trial, and it is not listed.
    host.reboot().expect("it starts");
    assert_eq!(host.house().snapshot().phase.word(), "locked");
    wait("it gives way", || esps.restarts().len() == 2);
    host.reboot().unwrap();
    assert_eq!(status(&host).image, esps::image(1).pcr11);
}

#[test]
fn images_that_must_not_come_are_refused_by_name_and_leave_the_box_as_it_was() {
    let esps = Esps::new().unwrap();
    let host = listing(&esps, &[2]);
    let operate = host.client("operate").unwrap();
    let (two, three) = (content(2), content(3));
    let expect = |answer: Answer, code: Code, what: &str| {
        assert_eq!(answer.code().unwrap(), code.slug(), "{what}");
        assert_eq!(answer.status, code.status(), "{what}");
        assert!(esps.is_whole(Esp::A, 1), "{what}");
        assert_eq!(esps.order().unwrap()[0], Esp::A, "{what}");
        assert_eq!(esps.restarts(), Vec::<String>::new(), "{what}");
    };
    expect(put_as(&operate, &three, &three), Code::ImageUnlisted, "unlisted");
    expect(put(&host, 1), Code::ImageRunning, "running");
    expect(put_as(&operate, &two, &two[1..]), Code::ImageLength, "a byte short");
    expect(put_as(&operate, &two, &[&two[..], &[0]].concat()), Code::BodyTooLarge, "a byte long");
    assert!(esps.is_whole(Esp::B, 1), "until here nothing was written");
    expect(put_as(&operate, &two, &three), Code::ImageAltered, "another than announced");
    assert_eq!(esps.holds(Esp::B), None, "what was altered is no file system");
    let send = |headers: &[(&str, &str)]| {
        operate.connect().unwrap().send("PUT", "/v1/image", headers, Some(&two)).unwrap()
    };
    let good = digest(&two);
    expect(send(&[OCTETS]), Code::MalformedRequest, "no digest");
    let json = ("Content-Type", "application/json");
    expect(send(&[json, ("Content-Digest", &good)]), Code::UnsupportedMediaType, "JSON");
    for wrong in ["sha-256=:AAAA:", "sha-512=:AAAA:", "", &good[..good.len() - 1]] {
        expect(send(&[OCTETS, ("Content-Digest", wrong)]), Code::MalformedRequest, wrong);
    }
    for name in ["web", "monitor", "audit"] {
        let answer = put_as(&host.client(name).unwrap(), &two, b"?");
        expect(answer, Code::NotPermitted, name);
    }
    put(&host, 2).ok::<ImageTaken>().expect("and a good one is taken after all that");
}

#[test]
fn a_box_without_an_open_root_takes_no_image() {
    let esps = Some(Esps::new().unwrap());
    let host = Host::with(Options { until: Until::Locked, esps, ..Options::default() }).unwrap();
    let two = content(2);
    let operate = host.believer("operate").unwrap();
    assert_eq!(put_as(&operate, &two, b"?").code().unwrap(), Code::WrongPhase.slug());
}

#[test]
fn a_second_image_waits_for_the_first_and_one_that_is_cut_is_no_file_system() {
    let esps = Esps::new().unwrap();
    let host = listing(&esps, &[2]);
    let two = content(2);
    let head = format!(
        "PUT /v1/image HTTP/1.1\r\nHost: casemate\r\nContent-Type: application/octet-stream\r\n\
         Content-Digest: {}\r\nContent-Length: {}\r\n\r\n",
        digest(&two),
        two.len()
    );
    let mut first = host.client("operate").unwrap().connect().unwrap();
    first.write(head.as_bytes()).unwrap();
    first.write(&two[..two.len() / 2]).unwrap();
    wait("it comes in", || status(&host).update.state == "receiving");
    assert_eq!(put(&host, 2).code().unwrap(), Code::UpdateInProgress.slug());
    // A bundle is not kept away by who sends slowly; what it drops is not armed.
    let mut host = host;
    let bundle = with_images(&host, &[esps::image(1)]);
    host.accept(bundle).expect("accepted meanwhile");
    first.write(&two[two.len() / 2..]).unwrap();
    assert_eq!(first.read_answer().unwrap().code().unwrap(), Code::ImageUnlisted.slug());

    let bundle = with_images(&host, &[esps::image(1), esps::image(2)]);
    wait("the other ESP is made what runs", || esps.is_whole(Esp::B, 1));
    wait("and read back", || status(&host).update.state == "none");
    host.accept(bundle).expect("listed again");
    let mut cut = host.client("operate").unwrap().connect().unwrap();
    cut.write(head.as_bytes()).unwrap();
    cut.write(&two[..two.len() / 3]).unwrap();
    wait("it comes in", || status(&host).update.state == "receiving");
    drop(cut);
    wait("it is given up", || status(&host).update.state == "none");
    assert_eq!(esps.holds(Esp::B), None);
    assert!(recorded(&host).contains(&"image image-cut".to_owned()));
    put(&host, 2).ok::<ImageTaken>().expect("sent again");
}

/// A box of image 1 with nothing under way.
fn settled() -> Start {
    Start {
        boot: Boot::Settled,
        image: esps::image(1).pcr11,
        listed: vec![esps::image(1)],
        patience: Duration::from_secs(600),
        db: None,
        pcr7: Vec::new(),
    }
}

#[test]
fn who_gave_an_image_up_makes_room_for_the_next_and_never_in_its_place() {
    let esps = Esps::new().unwrap();
    esps.start().unwrap();
    let state = Arc::new(State::open(TestDisk::blank(4096).blocks()).unwrap());
    let updates = Updates::start(esps.medium(state), settled()).unwrap();
    let in_progress = || updates.take(&esps::image(2)).err();
    let first = updates.take(&esps::image(2)).unwrap();
    drop(first.parts);
    assert_eq!(first.taken.blocking_recv().unwrap(), Err(Code::ImageCut));
    // Its caller has yet to note it: until then nobody else comes in, or both would be let go at once.
    assert_eq!(in_progress(), Some(Code::UpdateInProgress));
    drop(first.claim);
    let second = updates.take(&esps::image(2)).unwrap();
    assert_eq!(in_progress(), Some(Code::UpdateInProgress));
    assert_eq!(updates.status().state, "receiving");
    // Bundles do not wait for who sends slowly.
    assert_eq!(updates.first_but_running(), Ok(None));
    drop((second.parts, second.claim));
    assert_eq!(second.taken.blocking_recv().unwrap(), Err(Code::ImageCut));
    assert_eq!(updates.status().state, "none");
}

#[test]
fn a_power_cut_at_any_write_of_the_other_esp_leaves_the_old_image_and_the_next_try_works() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    // The blank, one in the middle, the last but one, the first unit at the end.
    let pieces = 64 * 4;
    for (write, cut) in [
        (0, Cut::Lost),
        (1 + seed % pieces, Cut::Sectors(seed)),
        (pieces, Cut::First),
        (1 + pieces, Cut::ButFirst),
        (1 + pieces, Cut::Lost),
    ] {
        let esps = Esps::new().unwrap();
        let mut host = listing(&esps, &[2]);
        let disk = esps.disk(Esp::B);
        disk.cut_at(disk.writes() + write, cut);
        let answer = put(&host, 2);
        assert_eq!(answer.code().unwrap(), Code::EspUnwritable.slug(), "{write} {cut:?}");
        host.reboot().unwrap();
        assert_eq!(status(&host).image, esps::image(1).pcr11, "{write} {cut:?}");
        put(&host, 2).ok::<ImageTaken>().unwrap_or_else(|e| panic!("{write} {cut:?}: {e}"));
        host.reboot().unwrap();
        assert_eq!(status(&host).image, esps::image(2).pcr11, "{write} {cut:?}");
    }
}

#[test]
fn when_a_bundle_drops_the_old_image_the_running_esp_goes_over_the_other() {
    let esps = Esps::new().unwrap();
    let mut host = updated(&esps, &[2]);
    assert_eq!(esps.holds(Esp::A), Some(1));
    let bundle = with_images(&host, &[esps::image(2)]);
    host.accept(bundle).unwrap();
    wait("both hold it", || esps.is_whole(Esp::A, 2));
    assert!(esps.is_whole(Esp::B, 2));
    host.reboot().unwrap();
    assert_eq!(status(&host).image, esps::image(2).pcr11);
}

#[test]
fn an_unlisted_image_gives_way_to_the_listed_one_on_the_other_esp() {
    let esps = Esps::new().unwrap();
    let mut host = updated(&esps, &[2]);
    let bundle = with_images(&host, &[esps::image(2)]);
    host.accept(bundle).unwrap();
    wait("both hold it", || esps.is_whole(Esp::A, 2));
    // Somebody brings the old image back and has the firmware start it.
    host.power_off().unwrap();
    esps.put(Esp::A, 1).unwrap();
    esps.variables().set_boot_order(&[0, 1]).unwrap();
    let before = esps.restarts().len();
    host.reboot().unwrap();
    assert_eq!(host.house().snapshot().phase.word(), "locked", "it opens nothing");
    wait("it gives way", || esps.restarts().len() == before + 1);
    host.reboot().unwrap();
    assert_eq!(status(&host).image, esps::image(2).pcr11);
    wait("it is committed", || ready(&host).reasons.is_empty());
    assert_eq!(esps.order().unwrap()[0], Esp::B);
}

#[test]
fn a_bundle_must_list_what_the_firmware_starts_first() {
    let esps = Esps::new().unwrap();
    let mut host = updated(&esps, &[2, 3]);
    // Somebody puts the old image first again while the box runs; it is asked anew at the next boot.
    let order = esps.variables().boot_order();
    host.power_off().unwrap();
    esps.variables().set_boot_order(&[order[1], order[0]]).unwrap();
    esps.variables().set_boot_next(order[0]).unwrap();
    host.reboot().unwrap();
    assert_eq!(host.house().boot.image, esps::image(2).pcr11, "started once, against the order");
    let without = with_images(&host, &[esps::image(2), esps::image(3)]);
    let envelope = host.site.sign(&without).unwrap();
    assert!(host.push(&envelope).unwrap_err().to_string().contains(Code::BootOrder.slug()));
    let with = with_images(&host, &[esps::image(1), esps::image(2)]);
    host.accept(with).expect("both are listed");
}
