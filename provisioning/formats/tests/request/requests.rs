//! Bad requests by their names.

use casemate_formats::{
    bundle::body::Host,
    code::Code,
    digest::Digest,
    efi::variable::{GLOBAL, IMAGE_SECURITY, OWNER, list},
    measure,
    request::{
        Request,
        verify::{self, Attested, Expected, Fingerprint, Known, Refusal},
    },
};

use crate::{
    box_in_software::{NONCE, SECTIONS, SoftBox, anchors, authenticode, image, update},
    firmware_log::{Event, FirmwareLog},
};

fn verify_for(host: &Host, request: &Request) -> Result<Attested, Refusal> {
    let (anchors, images) = (anchors(), [image()]);
    let host = Known::Listed(host);
    verify::request(request, &Expected { nonce: &NONCE, anchors: &anchors, images: &images, host })
}

/// The refusal of what a box says, against the record of the healthy box.
fn refused(spoken: &SoftBox) -> Code {
    verify_for(&SoftBox::healthy().host(), &spoken.request()).unwrap_err().code
}

/// The refusal of a boot that ends in this log.
fn refused_log(change: impl FnOnce(&mut FirmwareLog)) -> Code {
    let mut log = SoftBox::healthy().log;
    change(&mut log);
    let spoken = SoftBox::new(log);
    // PCR 7 is listed as it is, so that what refuses is the reading of the log.
    verify_for(&spoken.host(), &spoken.request()).unwrap_err().code
}

fn position(log: &FirmwareLog, pcr: u32, kind: u32) -> usize {
    log.events.iter().position(|event| (event.pcr, event.kind) == (pcr, kind)).unwrap()
}

#[test]
fn a_listed_box_that_runs_a_listed_image_is_attested() {
    let spoken = SoftBox::healthy();
    let attested = verify_for(&spoken.host(), &spoken.request()).unwrap();
    assert_eq!(attested.image, image());
    assert_eq!(attested.ak.name(), &spoken.ak());
    assert_eq!(attested.pcr7(), spoken.pcrs[7]);
    assert_eq!(attested.other_applications, []);
    assert_eq!(attested.claims, spoken.claims);
}

#[test]
fn wrong_nonce() {
    let mut request = SoftBox::healthy().request();
    request.nonce = [8; 32];
    let error = verify_for(&SoftBox::healthy().host(), &request).unwrap_err();
    assert_eq!(error.code, Code::WrongNonce);
    assert!(error.expected.contains("0707") && error.found.contains("0808"));
}

#[test]
fn replayed() {
    // An honest answer to an older question, its nonce field rewritten to the present one.
    let spoken = SoftBox::healthy();
    let mut request = spoken.request();
    (request.attest, request.signature) = spoken.quote(&spoken.claims.extra_data(&[6; 32]));
    assert_eq!(verify_for(&spoken.host(), &request).unwrap_err().code, Code::QuoteContent);
}

#[test]
fn every_claim_is_covered_by_the_quote() {
    let spoken = SoftBox::healthy();
    let changes: [fn(&mut Request); 8] = [
        |r| r.claims.phase = "operational".into(),
        |r| r.claims.bundle.0[0] ^= 1,
        |r| r.claims.image.0[0] ^= 1,
        |r| r.claims.log_id.0[0] ^= 1,
        |r| r.claims.checkpoint_key.0[0] ^= 1,
        |r| r.claims.hpke_key.0[0] ^= 1,
        |r| r.claims.tls_key.0[0] ^= 1,
        |r| r.claims.order_challenge.0[0] ^= 1,
    ];
    for change in changes {
        let mut request = spoken.request();
        change(&mut request);
        assert_eq!(verify_for(&spoken.host(), &request).unwrap_err().code, Code::QuoteContent);
    }
}

#[test]
fn other_pcr_selection() {
    let mut spoken = SoftBox::healthy();
    spoken.selection = vec![0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0, 0];
    assert_eq!(refused(&spoken), Code::PcrSelection);
    spoken.selection = [crate::box_in_software::SELECTION, &[0, 4, 3, 0xff, 0xff, 0]].concat();
    spoken.selection[3] = 2;
    assert_eq!(refused(&spoken), Code::PcrSelection);
}

#[test]
fn sha1_bank() {
    let mut spoken = SoftBox::healthy();
    spoken.selection = vec![0, 0, 0, 1, 0, 0x04, 3, 0xff, 0xff, 0];
    assert_eq!(refused(&spoken), Code::PcrBank);
}

#[test]
fn ak_not_restricted() {
    let mut spoken = SoftBox::healthy();
    spoken.attributes &= !(1 << 16);
    assert_eq!(refused(&spoken), Code::AttestationKey);
}

#[test]
fn quote_trailing_bytes() {
    let spoken = SoftBox::healthy();
    let mut request = spoken.request();
    request.attest.push(0);
    request.signature = spoken.sign(&request.attest);
    assert_eq!(verify_for(&spoken.host(), &request).unwrap_err().code, Code::QuoteMalformed);
}

#[test]
fn quote_signed_by_another_key() {
    let spoken = SoftBox::healthy();
    let mut request = spoken.request();
    request.signature = spoken.sign(b"something else");
    assert_eq!(verify_for(&spoken.host(), &request).unwrap_err().code, Code::QuoteSignature);
}

#[test]
fn pcr_values_that_were_not_quoted() {
    let mut request = SoftBox::healthy().request();
    request.pcrs[14] = Digest([1; 32]);
    let host = SoftBox::healthy().host();
    assert_eq!(verify_for(&host, &request).unwrap_err().code, Code::QuoteContent);
    request.pcrs.pop();
    assert_eq!(verify_for(&host, &request).unwrap_err().code, Code::QuoteMalformed);
}

#[test]
fn event_log_truncated() {
    let spoken = SoftBox::healthy();
    let whole = spoken.request().event_log;
    let mut whole_events = 0;
    for end in 0..whole.len() {
        let mut request = spoken.request();
        request.event_log.truncate(end);
        match verify_for(&spoken.host(), &request).unwrap_err().code {
            Code::EventLog => {}
            // Cut between two events: well-formed, but does not lead to the PCRs.
            Code::EventLogMismatch => whole_events += 1,
            other => panic!("cut at {end}: {other:?}"),
        }
    }
    assert_eq!(whole_events, spoken.log.events.len());
}

#[test]
fn event_log_without_sha256() {
    let mut spoken = SoftBox::healthy();
    spoken.log.banks = vec![(0x0004, 20)];
    assert_eq!(refused(&spoken), Code::EventLog);
}

#[test]
fn event_log_with_further_banks_is_read() {
    let mut spoken = SoftBox::healthy();
    spoken.log.banks = vec![(0x0004, 20), (0x000b, 32), (0x000c, 48)];
    verify_for(&spoken.host(), &spoken.request()).unwrap();
}

#[test]
fn event_log_that_hides_an_application() {
    let mut spoken = SoftBox::healthy();
    let mut log = spoken.log.clone();
    log.events.insert(0, Event::application(Digest::sha256(b"boot kit")));
    spoken.pcrs[4] = log.pcrs()[4];
    assert_eq!(refused(&spoken), Code::EventLogMismatch);
}

#[test]
fn unlisted_pcr_4_application() {
    let shell = Digest::sha256(b"shell");
    let add = |log: &mut FirmwareLog| {
        let at = position(log, 4, 0x8000_0003);
        log.events.insert(at, Event::application(shell));
    };
    assert_eq!(refused_log(add), Code::BootApplication);
    // The same boot is good once the host record lists the shell.
    let mut log = SoftBox::healthy().log;
    add(&mut log);
    let spoken = SoftBox::new(log);
    let mut host = spoken.host();
    host.boot_applications.push(shell).unwrap();
    assert_eq!(verify_for(&host, &spoken.request()).unwrap().other_applications, [shell]);
}

#[test]
fn application_after_the_image() {
    let code = refused_log(|log| log.events.push(Event::application(Digest::sha256(b"chained"))));
    assert_eq!(code, Code::BootApplication);
}

#[test]
fn image_that_was_never_started() {
    let code = refused_log(|log| log.events.retain(|event| event.kind != 0x8000_0003));
    assert_eq!(code, Code::BootApplication);
}

#[test]
fn unknown_event_in_pcr_4() {
    let code = refused_log(|log| log.events.push(Event::of(4, 0x0d, b"boot loader".to_vec())));
    assert_eq!(code, Code::BootApplication);
}

#[test]
fn extra_pcr_7_authority() {
    let foreign = [&OWNER.0[..], b"vendor certificate"].concat();
    let code = refused_log(|log| log.events.push(Event::authority(&foreign)));
    assert_eq!(code, Code::BootAuthority);
}

#[test]
fn no_pcr_7_authority() {
    let code = refused_log(|log| log.events.retain(|event| event.kind != 0x8000_00e0));
    assert_eq!(code, Code::BootAuthority);
}

#[test]
fn the_sites_authority_under_another_owner() {
    let code = refused_log(|log| {
        let at = position(log, 7, 0x8000_00e0);
        log.events[at] = Event::authority(&[&[9; 16][..], b"db certificate"].concat());
    });
    assert_eq!(code, Code::BootAuthority);
}

#[test]
fn second_certificate_in_db() {
    let two = list(&OWNER, &[b"db certificate", b"vendor certificate"]);
    let code = refused_log(|log| {
        let at = log.events.iter().position(|e| e.data.len() > 40 && e.pcr == 7 && is_db(e));
        log.events[at.unwrap()] = Event::variable("db", &IMAGE_SECURITY, &two);
    });
    assert_eq!(code, Code::SecureBootKeys);
}

fn is_db(event: &Event) -> bool {
    event.kind == 0x8000_0001 && event.data.get(32..36) == Some(b"d\0b\0") && event.data[16] == 2
}

#[test]
fn another_sites_keys() {
    let mut foreign = anchors();
    foreign.pk = update(&[b"another PK"]);
    let log = FirmwareLog::boot(&foreign, &SECTIONS, authenticode());
    let spoken = SoftBox::new(log);
    let error = verify_for(&spoken.host(), &spoken.request()).unwrap_err();
    assert_eq!(error.code, Code::SecureBootKeys);
    assert!(error.expected.starts_with("PK "));
}

#[test]
fn secure_boot_0() {
    for value in [&[0][..], &[], &[1, 1]] {
        let code = refused_log(|log| {
            let at = position(log, 7, 0x8000_0001);
            log.events[at] = Event::variable("SecureBoot", &GLOBAL, value);
        });
        assert_eq!(code, Code::SecureBootOff);
    }
}

#[test]
fn secure_boot_variable_missing_twice_late_or_of_another_vendor() {
    let variables: Vec<usize> = (0..5).map(|n| n + 1).collect();
    for at in variables {
        let missing = refused_log(|log| drop(log.events.remove(at)));
        let twice = refused_log(|log| log.events.insert(at, log.events[at].clone()));
        let late = refused_log(|log| {
            let event = log.events.remove(at);
            log.events.push(event);
        });
        assert_eq!([missing, twice, late], [Code::SecureBootKeys; 3]);
    }
    let code = refused_log(|log| log.events[1] = Event::variable("SecureBoot", &OWNER, &[1]));
    assert_eq!(code, Code::BootAuthority);
}

#[test]
fn variable_data_that_was_not_measured() {
    // The log shows the site's db, the PCR was extended with another one's hash.
    let code = refused_log(|log| {
        let at = log.events.iter().position(is_db).unwrap();
        log.events[at].digest = Digest::sha256(b"another db");
    });
    assert_eq!(code, Code::SecureBootKeys);
}

#[test]
fn unknown_event_in_pcr_7() {
    let code = refused_log(|log| {
        log.events.push(Event::of(7, 0x8000_0007, b"UEFI Debug Mode".to_vec()));
    });
    assert_eq!(code, Code::BootAuthority);
}

#[test]
fn a_filled_dbx_only_forbids_more() {
    let mut log = SoftBox::healthy().log;
    let at = log.events.iter().position(|e| e.data.get(32..38) == Some(b"d\0b\0x\0")).unwrap();
    log.events[at] = Event::variable("dbx", &IMAGE_SECURITY, b"revocations");
    let spoken = SoftBox::new(log);
    verify_for(&spoken.host(), &spoken.request()).unwrap();
    // But PCR 7 differs, and that is pinned.
    assert_eq!(refused(&spoken), Code::HostMismatch);
}

#[test]
fn pcr_12_and_13_extended() {
    for pcr in [12, 13] {
        let code = refused_log(|log| log.events.push(Event::of(pcr, 0x0d, b"init=/bin/sh".into())));
        assert_eq!(code, Code::PcrNotZero);
    }
}

#[test]
fn pcr_11_without_the_words_of_pid_1() {
    let mut spoken = SoftBox::healthy();
    let stub = spoken.log.pcrs()[11];
    for pcr11 in [stub, measure::phase(stub, measure::ENTER), measure::phase(stub, measure::LEAVE)]
    {
        spoken.pcrs[11] = pcr11;
        assert_eq!(refused(&spoken), Code::EventLogMismatch);
    }
}

#[test]
fn image_not_listed() {
    let log = FirmwareLog::boot(&anchors(), &[(".linux", b"older kernel")], authenticode());
    let spoken = SoftBox::new(log);
    assert_eq!(refused(&spoken), Code::ImageNotListed);
}

#[test]
fn image_claim_that_pcr_11_does_not_show() {
    let mut spoken = SoftBox::healthy();
    spoken.claims.image = Digest([5; 32]);
    assert_eq!(refused(&spoken), Code::QuoteContent);
}

#[test]
fn phase_that_does_not_exist() {
    let mut spoken = SoftBox::healthy();
    spoken.claims.phase = "open".into();
    assert_eq!(refused(&spoken), Code::QuoteContent);
}

#[test]
fn another_ek_ak_or_pcr_7_than_the_host_record() {
    let spoken = SoftBox::healthy();
    let other = casemate_formats::digest::Name::new(&[&[0, 0x0b][..], &[1; 32]].concat()).unwrap();
    let changes: [fn(&mut Host, casemate_formats::digest::Name); 3] = [
        |host, other| host.ek = other,
        |host, other| host.ak = other,
        |host, _| host.pcr7[0] = Digest([1; 32]),
    ];
    for change in changes {
        let mut host = spoken.host();
        change(&mut host, other.clone());
        assert_eq!(verify_for(&host, &spoken.request()).unwrap_err().code, Code::HostMismatch);
    }
}

#[test]
fn a_new_box_is_found_by_the_fingerprint_on_its_console() {
    let spoken = SoftBox::healthy();
    let (anchors, images) = (anchors(), [image()]);
    let check = |text: &str| {
        let fingerprint = Fingerprint::parse(text).unwrap();
        let host = Known::New(&fingerprint);
        let expected = Expected { nonce: &NONCE, anchors: &anchors, images: &images, host };
        verify::request(&spoken.request(), &expected).map(|_| ()).map_err(|error| error.code)
    };
    let name = spoken.host().ek.fingerprint();
    assert_eq!(check(&name.grouped()), Ok(()));
    assert_eq!(check(&name.short()), Ok(()));
    assert_eq!(check(&Digest::sha256(b"x").short()), Err(Code::EndorsementKey));
    // Half of what the console shows is no fingerprint.
    assert_eq!(Fingerprint::parse(&name.short()[..19]), None);
    assert_eq!(Fingerprint::parse("no hex at all, though it is long enough"), None);
}
