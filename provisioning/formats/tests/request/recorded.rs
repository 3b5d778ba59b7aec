//! A request recorded from a machine: QEMU with OVMF (Secure Boot, SMM) and swtpm, an image booted from
//! an entry of its own, operational. With the anchors and the bundle of its site.

use std::sync::LazyLock;

use casemate_formats::{
    anchors::Anchors,
    bundle::Verified,
    code::Code,
    request::{
        Request,
        eventlog::EventLog,
        firmware::{SecureBoot, applications},
        verify::{self, Attested, Expected, Known, Refusal},
    },
};

const REQUEST: &str = include_str!("../../testdata/request/ovmf/request.json");
const ANCHORS: &[u8] = include_bytes!("../../testdata/request/ovmf/anchors");
const BUNDLE: &[u8] = include_bytes!("../../testdata/request/ovmf/bundle");

static RECORDED: LazyLock<Request> = LazyLock::new(|| serde_json::from_str(REQUEST).unwrap());
static SITE: LazyLock<(Anchors, Verified)> = LazyLock::new(|| {
    let anchors = Anchors::decode(ANCHORS).unwrap();
    let bundle = Verified::verify(BUNDLE, &anchors).unwrap();
    (anchors, bundle)
});

fn verify_it(request: &Request) -> Result<Attested, Refusal> {
    let (anchors, bundle) = &*SITE;
    let nonce = &RECORDED.nonce;
    let (images, host) = (&bundle.bundle().images, Known::Listed(&bundle.bundle().hosts[0]));
    verify::request(request, &Expected { nonce, anchors, images, host })
}

#[test]
fn a_machine_with_ovmf_is_attested() {
    let attested = verify_it(&RECORDED).unwrap();
    let (_, bundle) = &*SITE;
    assert_eq!(attested.claims.phase, "operational");
    assert_eq!(attested.claims.bundle, bundle.digest());
    assert_eq!(attested.image, bundle.bundle().images[0]);
    assert_eq!(attested.other_applications, []);
}

#[test]
fn what_ovmf_logs_in_pcr_4_and_7_is_what_the_reader_expects() {
    let log = EventLog::parse(&RECORDED.event_log).unwrap();
    let state = SecureBoot::read(&log).unwrap();
    assert_eq!((state.enabled, state.dbx, state.authorities.len()), (&[1][..], &[][..], 1));
    assert_eq!(applications(&log).unwrap(), [SITE.1.bundle().images[0].authenticode]);
    assert_eq!(log.replay()[..11], RECORDED.pcrs[..11]);
}

#[test]
fn a_changed_byte_of_its_request_is_refused_or_means_nothing() {
    let whole = RECORDED.clone();
    let attested = verify_it(&whole).unwrap();
    let fields: [fn(&mut Request) -> &mut Vec<u8>; 5] = [
        |r| &mut r.ek_public,
        |r| &mut r.ak_public,
        |r| &mut r.attest,
        |r| &mut r.signature,
        |r| &mut r.event_log,
    ];
    for (index, field) in fields.into_iter().enumerate() {
        // The log is long: every third byte of it, every one of the rest.
        let step = if index == 4 { 3 } else { 1 };
        for at in (0..field(&mut whole.clone()).len()).step_by(step) {
            let mut changed = whole.clone();
            field(&mut changed)[at] ^= 0x10;
            match verify_it(&changed) {
                Err(_) => {}
                // Device paths and names in the log are not measured.
                Ok(found) => {
                    assert_eq!(index, 4, "field {index}, byte {at}");
                    assert_eq!(found.image, attested.image);
                    assert_eq!(found.other_applications, attested.other_applications);
                }
            }
        }
    }
}

#[test]
fn its_log_cut_anywhere_is_refused() {
    let length = RECORDED.event_log.len();
    for end in (0..length).step_by(7) {
        let mut changed = RECORDED.clone();
        changed.event_log.truncate(end);
        let code = verify_it(&changed).unwrap_err().code;
        assert!(matches!(code, Code::EventLog | Code::EventLogMismatch), "{end}: {code:?}");
    }
}
