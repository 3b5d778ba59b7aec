//! Images changed on a real firmware: tried once by BootNext, committed, fallen back from; retired for
//! good; with the power going at random instants.

use std::{
    fs,
    sync::OnceLock,
    time::{Duration, Instant},
};

use casemate_formats::{
    api::{ImageTaken, Status},
    bundle::Bundle,
    efi::partition::{ESP_A, ESP_B},
};
use casemate_qemu::{
    machine::{Hardware, copy_sparse},
    partition,
};
use casemate_tests::{
    machine::{BOOT, Box, Built},
    site::Site,
};

use crate::fixture::{PLAINTEXT, copy, fixture, fresh};

/// An image of the fixture's site with another `/init`, built once for each name.
fn variant(name: &str, init: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Built {
    let folder = fresh(name);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("init");
    fs::write(&file, init(Built::firmware().unwrap())).unwrap();
    Built::with_init(&fixture().machine.remote.site, &folder, Some(&file)).unwrap()
}

/// Another image that does the same.
fn second() -> &'static Built {
    static SECOND: OnceLock<Built> = OnceLock::new();
    let site = &fixture().machine.remote.site;
    SECOND.get_or_init(|| Built::second(site, &fresh("second-image")).unwrap())
}

/// A box of the fixture whose bundle lists `image` too, serving.
fn listing(name: &str, image: &Built) -> Box {
    let mut machine = copy(name, Hardware::default());
    machine.power_cycle().unwrap();
    machine.list_image(image).unwrap();
    machine
}

fn next(machine: &Box) -> Bundle {
    let mut bundle = machine.remote.bundle.clone().unwrap();
    bundle.site.seq += 1;
    bundle
}

/// Sends it; the box starts again.
fn update(machine: &mut Box, image: &Built) {
    let taken: ImageTaken = machine.put_image(image).unwrap().ok().unwrap();
    assert_eq!((taken.image, taken.esp.as_str()), (image.manifest.pcr11, "B"));
    machine.machine.serial.wait("casemate: reboot", BOOT).unwrap();
}

fn status(machine: &Box) -> Status {
    machine.remote.client("monitor").unwrap().get("/v1/status").unwrap().ok().unwrap()
}

/// Waits for the next boot's phase and port.
fn serves(machine: &mut Box) {
    machine.machine.serial.wait("casemate: phase operational", BOOT).unwrap();
    machine.machine.serial.wait("casemate: ready", BOOT).unwrap();
    machine.wait_ready(Instant::now()).unwrap();
}

fn committed(machine: &mut Box) {
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
    machine.machine.serial.wait("casemate: trial committed", BOOT).unwrap();
}

/// Puts an ESP's bytes where somebody with the disk in hand can.
fn overwrite(machine: &Box, name: &str, esp: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let disk = machine.machine.path("disk.img");
    let place = partition::find(&disk, name).unwrap();
    let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.write_all_at(esp, place.offset).unwrap();
}

#[test]
fn an_image_is_updated_and_the_one_that_a_bundle_drops_is_dead_with_its_old_disk_and_bundle() {
    let mut machine = listing("update", second());
    let old_disk = machine.machine.path("old.img");
    machine.machine.cut();
    copy_sparse(&machine.machine.path("disk.img"), &old_disk).unwrap();
    machine.power_cycle().unwrap();

    update(&mut machine, second());
    machine.machine.serial.wait("casemate: trial this image", BOOT).unwrap();
    serves(&mut machine);
    let ready = machine.remote.nobody().unwrap().get("/readyz").unwrap();
    assert!(String::from_utf8_lossy(&ready.body).contains("\"trial\""));
    committed(&mut machine);
    // Without hands it starts from now on, also after a power cut.
    machine.power_cycle().unwrap();
    let now = status(&machine);
    assert_eq!((now.image, now.update.state.as_str()), (second().manifest.pcr11, "none"));

    // The bundle drops the old image: the running ESP goes over it.
    let mut bundle = next(&machine);
    bundle.images = [second().manifest.image().unwrap()].into_iter().collect();
    machine.remote.image = bundle.images[0].clone();
    machine.remote.accept(bundle).unwrap();
    machine.machine.serial.wait("casemate: update Casemate A holds it", BOOT).unwrap();
    machine.machine.cut();

    // The old image, the old disk with the old bundle, the same TPM: nothing opens.
    let disk = machine.machine.path("disk.img");
    copy_sparse(&disk, &machine.machine.path("new.img")).unwrap();
    copy_sparse(&old_disk, &disk).unwrap();
    machine.machine.start().unwrap();
    let line = machine.machine.serial.wait("casemate: phase", BOOT).unwrap();
    assert!(line.contains("locked (no-live-slot)"), "{line}");

    // The old image under the new bundle gives way to the listed one beside it.
    machine.machine.cut();
    copy_sparse(&machine.machine.path("new.img"), &disk).unwrap();
    let old = fixture().built.esp().unwrap();
    overwrite(&machine, ESP_A.name, &old);
    overwrite(&machine, ESP_B.name, &old);
    machine.machine.start().unwrap();
    let line = machine.machine.serial.wait("casemate: phase", BOOT).unwrap();
    assert!(line.contains("locked (not-listed)"), "{line}");
    machine.machine.cut();
    overwrite(&machine, ESP_B.name, &second().esp().unwrap());
    // The committed order starts B first; an image put there by hand runs, the old one on A is passed.
    machine.machine.start().unwrap();
    serves(&mut machine);
    assert_eq!(status(&machine).image, second().manifest.pcr11);
}

#[test]
fn an_image_that_panics_or_does_not_open_the_root_is_left_for_the_one_of_before() {
    // A firmware that is no program: the kernel panics for want of an init.
    let panics = variant("panicking-image", |_| b"\x7fELF and nothing else".to_vec());
    // Anchors of other signers: under them no bundle on the disk verifies, so nothing opens.
    let site = &fixture().machine.remote.site;
    let mut anchors = site.anchors.clone();
    anchors.signers = Site::new().unwrap().anchors.signers;
    let closed = Built::with(site, &fresh("closed-image"), &anchors, None).unwrap();

    let mut machine = listing("fallback", &panics);
    update(&mut machine, &panics);
    machine.machine.serial.wait("casemate: trial", BOOT).unwrap();
    serves(&mut machine);
    let now = status(&machine);
    assert_eq!((now.image, now.update.state.as_str()), (fixture().built.manifest.pcr11, "failed"));

    machine.list_image(&closed).unwrap();
    update(&mut machine, &closed);
    machine.machine.serial.wait("casemate: trial this image's root does not open", BOOT).unwrap();
    machine.machine.serial.wait("did not stay", BOOT).unwrap();
    serves(&mut machine);
    assert_eq!(status(&machine).image, fixture().built.manifest.pcr11);
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
}

#[test]
fn the_power_goes_while_an_image_comes_is_written_or_is_committed() {
    let seed = std::env::var("CASEMATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("CASEMATE_SEED={seed}");
    let mut random = |below: u64| {
        // An LCG (Knuth's MMIX): a seed gives the same instants again.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut machine = listing("update-cuts", second());
    let images = [fixture().built.manifest.pcr11, second().manifest.pcr11];
    for word in
        ["casemate: update an image comes", "casemate: reboot", "casemate: phase operational"]
    {
        // On the way in and while it is written; around the restart; around the commit.
        if status(&machine).image == images[0] {
            std::thread::scope(|scope| {
                scope.spawn(|| drop(machine.put_image(second())));
                // The console is read by whoever has the machine.
                let log = machine.machine.path("console.log");
                let end = Instant::now() + BOOT;
                while Instant::now() < end
                    && !fs::read_to_string(&log).is_ok_and(|text| text.contains(word))
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                std::thread::sleep(Duration::from_millis(random(3_000)));
                if let Some(id) = machine.machine.id() {
                    let id = nix::unistd::Pid::from_raw(i32::try_from(id).unwrap());
                    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
                }
            });
        }
        machine.power_cycle().unwrap_or_else(|error| panic!("after {word}: {error}"));
        let now = status(&machine);
        assert!(images.contains(&now.image), "after {word}");
        assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT, "after {word}");
    }
    if status(&machine).image == images[0] {
        update(&mut machine, second());
        serves(&mut machine);
    }
    assert_eq!(machine.decrypt(&fixture().token).unwrap(), PLAINTEXT);
    let end = Instant::now() + BOOT;
    while status(&machine).update.state != "none" {
        assert!(Instant::now() < end, "committed");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&machine).image, images[1]);
}
