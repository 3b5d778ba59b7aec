//! Reading apt's answers, and what happens when the locked version is gone.

use super::*;
use crate::lock::Lock;

const SHOW: &str = "\
Package: linux-source-6.12
Version: 6.12.120-1
Filename: pool/main/l/linux/linux-source-6.12_6.12.120-1_all.deb
SHA256: 1111111111111111111111111111111111111111111111111111111111111111

Package: linux-source-6.12
Version: 6.12.118-1
SHA256: 2222222222222222222222222222222222222222222222222222222222222222
";

const SHOWSRC: &str = "\
Package: tpm2-tss
Version: 4.1.3-1.2
Checksums-Sha256:
 3333333333333333333333333333333333333333333333333333333333333333 3743 tpm2-tss_4.1.3-1.2.dsc
 5555555555555555555555555555555555555555555555555555555555555555 833 tpm2-tss_4.1.3.orig.tar.gz.asc
 4444444444444444444444444444444444444444444444444444444444444444 1231980 tpm2-tss_4.1.3.orig.tar.gz
Homepage: https://example.org

";

fn linux() -> Locked {
    Lock::parse(include_str!("../../sources.lock")).unwrap().get("linux").unwrap().clone()
}

#[test]
fn offers_are_read_from_the_index() {
    let offers = binary_offers(SHOW);
    assert_eq!(offers[0].version, "6.12.120-1");
    assert_eq!(offers[1].sha256, Digest([0x22; 32]));
    let offers = source_offers(SHOWSRC);
    assert_eq!(offers, [Offer { version: "4.1.3-1.2".into(), sha256: Digest([0x44; 32]) }]);
}

#[test]
fn the_newest_of_the_series_stands_in_and_no_other() {
    let mut offers = binary_offers(SHOW);
    assert_eq!(newest(&offers, &linux()).unwrap().version, "6.12.120-1");
    offers.retain(|offer| !offer.version.starts_with("6.12."));
    offers.push(Offer { version: "6.18.1-1".into(), sha256: Digest::ZERO });
    let refusal = newest(&offers, &linux()).unwrap_err().to_string();
    assert!(refusal.contains("6.12.") && refusal.contains("6.18.1-1"), "{refusal}");
}

#[test]
fn a_version_that_is_gone_is_refused_when_locked_and_replaced_otherwise() {
    let (offers, locked) = (binary_offers(SHOW), linux());
    assert_eq!(choose(&offers, &locked, false).unwrap().version, "6.12.120-1");
    let refusal = choose(&offers, &locked, true).unwrap_err().to_string();
    assert!(refusal.contains("6.12.117-1") && refusal.contains("6.12.120-1"), "{refusal}");
    assert!(refusal.contains("cargo image lock --update"), "{refusal}");
}

#[test]
fn the_locked_version_is_taken_with_its_own_hash_alone() {
    let (mut offers, locked) = (binary_offers(SHOW), linux());
    offers.push(Offer { version: locked.version.clone(), sha256: locked.sha256 });
    for strict in [true, false] {
        assert_eq!(choose(&offers, &locked, strict).unwrap().sha256, locked.sha256);
    }
    offers.last_mut().unwrap().sha256 = Digest([9; 32]);
    for strict in [true, false] {
        let refusal = choose(&offers, &locked, strict).unwrap_err().to_string();
        assert!(refusal.contains("One version has one content"), "{refusal}");
    }
}

#[test]
fn a_source_other_than_the_locked_one_is_marked() {
    let (locked, newer) = (linux(), binary_offers(SHOW).remove(0));
    assert!(!fetched(&locked, PathBuf::new(), &newer).source.locked);
    let exact = Offer { version: locked.version.clone(), sha256: locked.sha256 };
    assert!(fetched(&locked, PathBuf::new(), &exact).source.locked);
}
