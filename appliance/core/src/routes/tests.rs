//! The table agrees with itself.

use super::*;

#[test]
fn every_route_is_found_and_none_stands_twice() {
    for (index, route) in TABLE.iter().enumerate() {
        let found = find(route.method.as_str(), route.path).expect(route.path);
        assert!(core::ptr::eq(found, route), "{} stands twice", route.path);
        assert!(TABLE[..index].iter().all(|other| other.endpoint != route.endpoint));
    }
}

#[test]
fn a_wrong_method_names_those_that_are_allowed() {
    assert_eq!(find("PUT", "/v1/bundle").unwrap_err(), NotFound::Method("GET, POST"));
    assert_eq!(find("GET", "/v1/decrypt").unwrap_err(), NotFound::Method("POST"));
    assert_eq!(find("POST", "/v1/image").unwrap_err(), NotFound::Method("PUT"));
    assert_eq!(find("post", "/v1/decrypt").unwrap_err(), NotFound::Method("POST"));
    for path in ["", "/", "/v1/decrypt/", "/v1/Decrypt", "/v1/decrypt/batch/", "*"] {
        assert_eq!(find("POST", path).unwrap_err(), NotFound::Path, "{path}");
    }
}

#[test]
fn only_what_authenticates_itself_or_is_harmless_is_open_to_anyone() {
    let open: Vec<_> = TABLE
        .iter()
        .filter(|route| route.caller == Caller::Anyone)
        .map(|route| route.endpoint)
        .collect();
    use Endpoint::{BundlePost, Livez, Readyz, Request, Shares};
    assert_eq!(open, [Livez, Readyz, Request, BundlePost, Shares]);
}

#[test]
fn an_image_is_as_long_as_an_esp() {
    let image = find("PUT", "/v1/image").expect("there");
    assert_eq!(image.body_limit as u64, casemate_formats::efi::partition::ESP_BYTES);
}

#[test]
fn the_largest_value_fits_into_one_item() {
    let base64 = limits::PLAINTEXT_BYTES.div_ceil(3) * 4;
    let escaped = 6 * limits::CONTEXT_BYTES;
    let context = limits::CONTEXT_NAMES * (limits::NAME_BYTES + escaped + 6);
    assert!(base64 + context + 1024 < ITEM_BODY);
}
