//! The manifest byte for byte, and what is refused.

use super::*;

const GOLDEN: &str = include_str!("../../testdata/manifest.json");

#[test]
fn the_golden_manifest_is_read_and_written_the_same() {
    let manifest = Manifest::parse(GOLDEN).unwrap();
    assert_eq!(manifest.to_json(), GOLDEN);
    let image = manifest.image().unwrap();
    assert_eq!(image.pcr11, manifest.pcr11);
    assert_eq!(image.esp, manifest.signed.unwrap().esp.sha256);
}

#[test]
fn the_golden_manifest_with_products_is_read_and_written_the_same() {
    let text = include_str!("../../testdata/manifest-products.json");
    let mut manifest = Manifest::parse(text).unwrap();
    assert_eq!(manifest.to_json(), text);
    assert_eq!(manifest.products.len(), 2);
    manifest.products.clear();
    assert_eq!(manifest.to_json(), GOLDEN);
}

#[test]
fn an_unsigned_image_cannot_be_listed_in_a_bundle() {
    let mut manifest = Manifest::parse(GOLDEN).unwrap();
    manifest.signed = None;
    assert_eq!(manifest.image(), None);
}

#[test]
fn unknown_fields_and_formats_are_refused() {
    let other = GOLDEN.replace("\"format\": 1", "\"format\": 2");
    assert!(matches!(Manifest::parse(&other), Err(ManifestError::UnknownVersion(2))));
    let extra = GOLDEN.replace("\"format\": 1", "\"format\": 1, \"surplus\": 0");
    assert!(matches!(Manifest::parse(&extra), Err(ManifestError::Json(_))));
    assert!(Manifest::parse(&GOLDEN[..GOLDEN.len() - 3]).is_err());
}
