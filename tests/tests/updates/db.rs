//! A further db certificate of the site: what PCR 7 follows from it, and when a box writes it.

use std::sync::Arc;

use casemate_appliance::{
    state::State,
    update::{DbChange, Start, Updates},
};
use casemate_core::update::Boot;
use casemate_formats::{
    anchors::Anchors,
    code::Code,
    digest::Digest,
    efi::{
        signer::Signer,
        variable::{self, Update, Variable},
    },
    request::{
        Ask, Request,
        eventlog::EventLog,
        firmware::pcr7_with_db,
        verify::{self, Expected, Known},
    },
};
use casemate_tests::{
    disk::TestDisk,
    esps::Esps,
    firmware_log::{Event as FirmwareEvent, FirmwareLog},
    host::Host,
    site::{SECTIONS, Site},
};

use crate::{settled, wait};

/// A later db of the same site: its certificate and another one, signed by its KEK.
fn with_second_certificate(site: &Site) -> (Anchors, Vec<u8>) {
    let read = |name: &str| std::fs::read_to_string(site.folder().join(name)).unwrap();
    let signer = Signer::new(&read("db.key"), &read("db.crt")).unwrap();
    let other = Site::new().unwrap();
    let second = Update::parse(&other.anchors.db).unwrap().certificates().unwrap()[0].1.to_vec();
    let certificates = [signer.certificate(), &second[..]];
    let db = variable::sign(Variable::Db, 1_800_000_000, &certificates, &signer).unwrap();
    (Anchors { db, ..site.anchors.clone() }, second)
}

#[test]
fn pcr_7_after_a_new_db_certificate_is_known_before_any_machine_has_it() {
    let site = Site::new().unwrap();
    let (later, second) = with_second_certificate(&site);
    let authenticode = Digest::sha256(b"a signed UKI");
    let before = FirmwareLog::boot(&site.anchors, &SECTIONS, authenticode);
    let mut after = FirmwareLog::boot(&later, &SECTIONS, authenticode);
    let bytes = before.encode();
    let log = EventLog::parse(&bytes).unwrap();
    let list = Update::parse(&later.db).unwrap().list;
    assert_eq!(pcr7_with_db(&log, list, None).unwrap(), after.pcrs()[7]);
    assert_ne!(before.pcrs()[7], after.pcrs()[7]);
    // Then an image that the new certificate lets in.
    let entry = [&variable::OWNER.0, &second[..]].concat();
    let at = after.events.iter().position(|event| event.kind == 0x8000_00e0).unwrap();
    after.events[at] = FirmwareEvent::authority(&entry);
    assert_eq!(pcr7_with_db(&log, list, Some(&entry)).unwrap(), after.pcrs()[7]);
}

#[test]
fn a_new_db_certificate_is_written_once_the_image_stays_and_its_pcr_7_is_listed() {
    let esps = Esps::new().unwrap();
    esps.start().unwrap();
    let change = DbChange { update: b"a signed update".to_vec(), pcr7: Digest([7; 32]) };
    let state = Arc::new(State::open(TestDisk::blank(4096).blocks()).unwrap());
    let db = || {
        let (name, vendor) = (Variable::Db.name(), Variable::Db.vendor());
        esps.variables().read(name, vendor).unwrap()
    };
    let start = |boot, pcr7| {
        let start = Start { boot, db: Some(change.clone()), pcr7, ..settled() };
        Updates::start(esps.medium(Arc::clone(&state)), start).unwrap()
    };
    let updates = start(Boot::Settled, Vec::new());
    updates.pcr7(vec![Digest([8; 32])]);
    // Asked behind it, answered after it.
    let _ = updates.first_but_running();
    assert_eq!(db(), None, "its PCR 7 is not listed");
    let updates = start(Boot::Trial, vec![change.pcr7]);
    updates.pcr7(vec![change.pcr7]);
    let _ = updates.first_but_running();
    assert_eq!(db(), None, "the image may go back to one that knows no such certificate");
    updates.commit().expect("the first").blocking_recv().unwrap().unwrap();
    wait("it is written", || db().is_some());
    assert_eq!(db().as_deref(), Some(&change.update[..]));
}

#[test]
fn a_box_that_has_not_got_the_newest_certificate_is_still_the_sites() {
    let host = Host::start().unwrap();
    let (later, _) = with_second_certificate(&host.site);
    let ask = Ask { nonce: [5; 32], credential: None };
    let body = serde_json::to_vec(&ask).unwrap();
    let request: Request = host.nobody().unwrap().post("/v1/request", &body).unwrap().ok().unwrap();
    let record = &host.bundle.as_ref().unwrap().hosts[0];
    let images = [host.image.clone()];
    let expected = |anchors| Expected {
        nonce: &ask.nonce,
        anchors,
        images: &images,
        host: Known::Listed(record),
    };
    verify::request(&request, &expected(&later)).expect("on its way to the new certificate");
    let foreign = Site::new().unwrap();
    let foreign = Anchors { db: foreign.anchors.db.clone(), ..host.site.anchors.clone() };
    let refused = verify::request(&request, &expected(&foreign)).unwrap_err();
    assert_eq!(refused.code, Code::SecureBootKeys);
}
