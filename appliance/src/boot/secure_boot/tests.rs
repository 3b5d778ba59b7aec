//! A firmware in a folder, and event logs written by hand.

use casemate_formats::{
    bundle::body::Label,
    efi::{
        Guid,
        variable::{GLOBAL, OWNER, list},
    },
    measure,
};

use super::*;

/// A signed update as far as its form goes: time, header with an empty signature, content.
fn update(certificate: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend(24_u32.to_le_bytes());
    out.extend([0x00, 0x02, 0xf1, 0x0e]);
    out.extend(b"\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7");
    out.extend(list(&OWNER, &[certificate]));
    out
}

fn anchors() -> Anchors {
    let label = Label::parse("site").expect("a name");
    let (pk, kek, db) = (update(b"pk"), update(b"kek"), update(b"db"));
    Anchors { namespace: label, threshold: 1, signers: heapless::Vec::new(), pk, kek, db }
}

/// A firmware in a folder: it stores what it is given, and its flags do not move by themselves.
fn firmware(set_up_mode: u8, secure_boot: u8) -> (tempfile::TempDir, Variables) {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = Variables::new(folder.path());
    variables.write("SetupMode", GLOBAL, 6, &[set_up_mode]).expect("written");
    variables.write("SecureBoot", GLOBAL, 6, &[secure_boot]).expect("written");
    (folder, variables)
}

fn put(variables: &Variables, variable: Variable, content: &[u8]) {
    variables.write(variable.name(), variable.vendor(), 0x27, content).expect("written");
}

fn names(refusals: &[Refusal]) -> Vec<&'static str> {
    refusals.iter().map(Refusal::name).collect()
}

#[test]
fn the_three_updates_are_written_whole_over_whatever_is_there() {
    let (_folder, variables) = firmware(0, 0);
    put(&variables, Variable::Db, b"somebody else's");
    enrol(&anchors(), &variables).expect("enrolled");
    for variable in Variable::ALL {
        let written = variables.read(variable.name(), variable.vendor()).expect("read");
        assert!(written.expect("there").starts_with(update_of(&anchors(), variable)));
    }
}

#[test]
fn a_firmware_that_stays_in_set_up_mode_stops_the_boot_and_does_not_loop() {
    let (_folder, variables) = firmware(1, 0);
    let refusal = enrol(&anchors(), &variables).expect_err("refused");
    assert_eq!(refusal.name(), "enrolment-failed");
}

#[test]
fn exactly_the_sites_keys_with_secure_boot_on_are_right() {
    let (_folder, variables) = firmware(0, 1);
    let anchors = anchors();
    for variable in Variable::ALL {
        let list = Update::parse(update_of(&anchors, variable)).expect("an update").list;
        put(&variables, variable, list);
    }
    assert!(check_variables(&anchors, &variables).is_empty());
    put(&variables, Variable::Kek, &list(&OWNER, &[b"another"]));
    assert_eq!(names(&check_variables(&anchors, &variables)), ["foreign-keys"]);
    variables.write("SecureBoot", GLOBAL, 6, &[0]).expect("written");
    assert_eq!(names(&check_variables(&anchors, &variables)), ["secure-boot-off", "foreign-keys"]);
}

#[test]
fn a_firmware_without_keys_or_variables_is_not_the_sites() {
    let (_folder, variables) = firmware(0, 1);
    assert_eq!(names(&check_variables(&anchors(), &variables)), ["foreign-keys"; 3]);
    let nothing = Variables::new(Path::new("/nonexistent"));
    assert_eq!(names(&check_variables(&anchors(), &nothing))[0], "no-firmware-variables");
}

/// An event of PCR 7 that measures a variable (TCG PFP 10.2.6, UEFI_VARIABLE_DATA).
fn variable_event(name: &str, vendor: Guid, value: &[u8]) -> (u32, Vec<u8>) {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = vendor.0.to_vec();
    data.extend((name.len() as u64 / 2).to_le_bytes());
    data.extend((value.len() as u64).to_le_bytes());
    data.extend(name);
    data.extend(value);
    (0x8000_0001, data)
}

/// A log with the sha256 bank alone that measures Secure Boot's variables, and PCR 7 after it.
fn event_log(secure_boot: u8, pk: &[u8], kek: &[u8], db: &[u8]) -> (Vec<u8>, Digest) {
    let mut log = Vec::new();
    let word = |log: &mut Vec<u8>, word: u32| log.extend(word.to_le_bytes());
    word(&mut log, 0);
    word(&mut log, 3);
    log.extend([0; 20]);
    let header =
        [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]]
            .concat();
    word(&mut log, u32::try_from(header.len()).expect("short"));
    log.extend(header);
    let security = Variable::Db.vendor();
    let events = [
        variable_event("SecureBoot", GLOBAL, &[secure_boot]),
        variable_event("PK", GLOBAL, pk),
        variable_event("KEK", GLOBAL, kek),
        variable_event("db", security, db),
        variable_event("dbx", security, &[]),
        (4, vec![0; 4]),
    ];
    let mut pcr7 = Digest::ZERO;
    for (kind, data) in events {
        let digest = Digest::sha256(&data);
        pcr7 = measure::extend(pcr7, digest);
        word(&mut log, 7);
        word(&mut log, kind);
        word(&mut log, 1);
        log.extend([0x0b, 0]);
        log.extend(digest.0);
        word(&mut log, u32::try_from(data.len()).expect("short"));
        log.extend(data);
    }
    (log, pcr7)
}

#[test]
fn a_log_of_the_sites_keys_answers_with_pcr_7_and_any_other_does_not() {
    let site = [b"pk".as_slice(), b"kek", b"db"].map(|name| list(&OWNER, &[name]));
    let [pk, kek, db] = &site;
    let (log, pcr7) = event_log(1, pk, kek, db);
    assert_eq!(measured_pcr7(&anchors(), &log), Some(pcr7));
    for (log, _) in [
        event_log(0, pk, kek, db),
        event_log(1, db, kek, db),
        event_log(1, pk, pk, db),
        event_log(1, pk, kek, &[&db[..], &pk[..]].concat()),
        event_log(0, &[], &[], &[]),
    ] {
        assert_eq!(measured_pcr7(&anchors(), &log), None);
    }
    assert_eq!(measured_pcr7(&anchors(), &log[..log.len() - 1]), None);
    assert_eq!(measured_pcr7(&anchors(), &[]), None);
}

#[test]
fn a_log_counts_only_with_the_pcr_7_that_it_gives() {
    let [pk, kek, db] = [b"pk".as_slice(), b"kek", b"db"].map(|name| list(&OWNER, &[name]));
    let (event_log, pcr7) = event_log(1, &pk, &kek, &db);
    let measured = Measured { pcr7: measured_pcr7(&anchors(), &event_log), event_log };
    let (_folder, off) = firmware(0, 0);
    let refusals = check(&anchors(), &measured, &pcr7, || unreachable!("the log answers"));
    assert!(refusals.is_empty());
    let refusals = check(&anchors(), &measured, &Digest::ZERO, || Ok(off));
    assert_eq!(names(&refusals)[0], "secure-boot-off");
}
