//! What the first version of the formats wrote works for ever: a disk with slots and log, the bundle,
//! the custodians' share files, tokens. Its TPM is gone, as it would be; custodians bring the root back.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_formats::{
    api::{Blocks, SharesTaken},
    audit::record::{Begin, Event, Former, Operation, Record},
    bundle::Verified,
    genesis::{Answer, Document},
    share::{ShareFile, seal::Contents},
};
use casemate_tests::{
    age::AgeIdentity,
    calls::{decrypt, encrypt, plaintext},
    disk::TestDisk,
    host::{Host, Options, Until},
    life::acknowledged,
    site::{CUSTODIANS, HOST, Site},
};

const UNITS: u64 = 16 * 1024;
const UNIT: usize = 4096;
/// What its tokens hold, by row.
const ROWS: [(&str, &[u8]); 3] =
    [("1", b"first"), ("2", b""), ("a row with a longer name", &[0xa5; 300])];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/first-format")
}

/// u64 index and 4 KiB, each unit that is not zero.
fn read_disk() -> TestDisk {
    let bytes = fs::read(folder().join("disk.units")).unwrap();
    let units: BTreeMap<u64, Vec<u8>> = bytes
        .chunks_exact(8 + UNIT)
        .map(|unit| (u64::from_be_bytes(unit[..8].try_into().unwrap()), unit[8..].to_vec()))
        .collect();
    assert!(units.len() > 6 && bytes.len().is_multiple_of(8 + UNIT));
    TestDisk::of(UNITS, units)
}

/// Made once, with `CASEMATE_NEW_GOLDEN` set, and never again.
fn make() {
    let secrets: Vec<[u8; 32]> = (0..CUSTODIANS)
        .map(|_| {
            let mut secret = [0; 32];
            aws_lc_rs::rand::fill(&mut secret).unwrap();
            secret
        })
        .collect();
    let mut site = Site::new().unwrap();
    site.custodians = secrets.iter().map(|secret| AgeIdentity::new(*secret)).collect();
    let disk = TestDisk::blank(UNITS);
    let on = disk.clone();
    let mut host = Host::with(Options {
        joins: Some((HOST, Arc::new(site))),
        proxy: Some(Box::new(move |_| on.blocks())),
        ..Options::default()
    })
    .unwrap();
    host.list(None).unwrap();
    let asked = host.bundle.clone().unwrap();
    let answer = host.genesis_answer().unwrap();
    let mut named = asked.clone();
    named.site.seq += 1;
    named.root.established = Some(acknowledged(&host.site, &answer, None).unwrap());
    let envelope = host.site.sign(&named).unwrap();
    assert_eq!(host.push(&envelope).unwrap().outcome, "entered");
    host.bundle = Some(named);
    let mut web = host.client("web").unwrap().connect().unwrap();
    let tokens: Vec<String> =
        ROWS.iter().map(|(row, value)| encrypt(&mut web, row, value).unwrap()).collect();
    host.power_off().unwrap();
    fs::create_dir_all(folder()).unwrap();
    host.site.write(&folder(), &secrets).unwrap();
    let document = Document { bundle: host.site.sign(&asked).unwrap(), answer };
    fs::write(folder().join("genesis.json"), serde_json::to_vec_pretty(&document).unwrap())
        .unwrap();
    fs::write(folder().join("bundle"), envelope).unwrap();
    fs::write(folder().join("tokens"), tokens.join("\n") + "\n").unwrap();
    let disk = disk.copy();
    let zero = vec![0; UNIT];
    let units = disk.written().into_iter().map(|unit| (unit, disk.unit(unit)));
    let bytes: Vec<u8> = units
        .filter(|(_, content)| *content != zero)
        .flat_map(|(unit, content)| [&unit.to_be_bytes()[..], &content].concat())
        .collect();
    fs::write(folder().join("disk.units"), bytes).unwrap();
}

#[test]
fn disk_bundle_shares_and_tokens_of_the_first_format_version_work_for_ever() {
    if !folder().join("disk.units").exists() && std::env::var_os("CASEMATE_NEW_GOLDEN").is_some() {
        make();
    }
    let site = Arc::new(Site::read(&folder()).unwrap());
    let envelope = fs::read(folder().join("bundle")).unwrap();
    let verified = Verified::verify(&envelope, &site.anchors).unwrap();
    let old = verified.bundle().clone();
    let document = fs::read(folder().join("genesis.json")).unwrap();
    let answer: Answer = serde_json::from_slice::<Document>(&document).unwrap().answer;

    // Another TPM under that disk: its slots and their bundle are read, its blob opens nothing.
    let disk = read_disk();
    let mut host = Host::with(Options {
        until: Until::Unprovisioned,
        joins: Some((HOST, Arc::clone(&site))),
        proxy: Some(Box::new(move |_| disk.blocks())),
        ..Options::default()
    })
    .unwrap();
    assert_eq!(host.house().snapshot().phase.to_string(), "locked (not-listed)");
    assert_eq!(host.house().snapshot().bundle.as_ref().unwrap().envelope(), envelope);
    let mut next = site.bundle(old.site.seq + 1, vec![host.record().unwrap()]);
    next.root = old.root.clone();
    assert_eq!(host.accept(next).unwrap().phase, "locked");

    // The custodians' files open, are of this root, and bring it back.
    let shares = site.custodians.iter().zip(&answer.shares).map(|(custodian, file)| {
        let file = ShareFile::decode(&custodian.decrypt(file).unwrap()).unwrap();
        assert_eq!(file.is_of(&old.root), Ok(()));
        host.seal(&Contents::Share(file.share)).unwrap()
    });
    let taken: SharesTaken = host.bring(shares.take(2).collect()).unwrap().ok().unwrap();
    assert_eq!((taken.phase.as_str(), taken.refused.len()), ("operational", 0));

    let mut web = host.client("web").unwrap().connect().unwrap();
    let tokens = fs::read_to_string(folder().join("tokens")).unwrap();
    assert_eq!(tokens.lines().count(), ROWS.len());
    for (token, (row, value)) in tokens.lines().zip(ROWS) {
        assert_eq!(plaintext(&decrypt(&mut web, row, token).unwrap()).unwrap(), value, "{row}");
    }

    // The old log opens. A new TPM's counter may stand where the old one stood: then it is continued,
    // and has what was done then; otherwise the new one names it, with the blocks that it had closed.
    let audit = host.client("audit").unwrap();
    let blocks: Blocks = audit.get("/v1/audit/blocks?from=0&wait=20").unwrap().ok().unwrap();
    let records = Record::decode_all(&blocks.blocks[0].records).unwrap();
    let encrypted = |record: &&Record| matches!(&record.event, Event::Item(item) if item.operation == Operation::Encrypt);
    match &records[0].event {
        Event::Begin(Begin { former: Former::Log { size, .. }, generation: 1, .. }) => {
            assert!(*size > 0, "its open block was closed");
        }
        _ => assert_eq!(records.iter().filter(encrypted).count(), ROWS.len()),
    }
}
