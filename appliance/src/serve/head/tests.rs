//! What `head` promises, tested.

use hyper::header::HeaderValue;

use super::*;

fn ids(pairs: &[(HeaderName, &str)]) -> Ids {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    Ids::of(&headers)
}

#[test]
fn a_request_id_is_taken_over_within_its_alphabet_and_length() {
    let longest = "x".repeat(64);
    for sound in ["a", "Rails.7-4_2", longest.as_str()] {
        assert_eq!(ids(&[(REQUEST_ID, sound)]).request.as_str(), sound);
    }
    let too_long = "x".repeat(65);
    for wrong in ["", "a b", "a/b", "ä", "a\tb", "a\"", too_long.as_str()] {
        let made = ids(&[(REQUEST_ID, wrong)]).request;
        assert_eq!(made.as_str().len(), 32, "{wrong}");
    }
    assert_eq!(ids(&[(REQUEST_ID, "a"), (REQUEST_ID, "b")]).request.as_str().len(), 32);
}

#[test]
fn made_ids_differ() {
    assert_ne!(ids(&[]).request, ids(&[]).request);
}

#[test]
fn a_traceparent_is_taken_over_in_its_one_form() {
    let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = ids(&[(TRACEPARENT, sound)]).trace.expect("taken over");
    assert_eq!(hex(&trace), "4bf92f3577b34da6a3ce929d0e0e4736");
    for wrong in [
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "",
    ] {
        assert_eq!(ids(&[(TRACEPARENT, wrong)]).trace, None, "{wrong}");
    }
}

fn route(path: &str) -> &'static Route {
    casemate_core::routes::find("POST", path).expect("a route")
}

fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_body_is_of_the_one_media_type_and_not_encoded() {
    let decrypt = route("/v1/decrypt");
    for sound in ["application/json", "Application/JSON", "application/json; charset=UTF-8"] {
        assert!(media_type(&headers(&[(CONTENT_TYPE, sound)]), decrypt).is_ok(), "{sound}");
    }
    for wrong in ["text/plain", "application/json; charset=latin1", "application/jsonx", ""] {
        let refused = media_type(&headers(&[(CONTENT_TYPE, wrong)]), decrypt);
        assert_eq!(refused.unwrap_err().code, Code::UnsupportedMediaType, "{wrong}");
    }
    let encoded = headers(&[(CONTENT_TYPE, JSON), (CONTENT_ENCODING, "gzip")]);
    assert!(media_type(&encoded, decrypt).is_err());
    assert!(media_type(&headers(&[(CONTENT_TYPE, OCTETS)]), route("/v1/bundle")).is_ok());
    assert!(media_type(&headers(&[(CONTENT_TYPE, JSON)]), route("/v1/bundle")).is_err());
}

#[test]
fn a_body_says_its_length_first() {
    let decrypt = route("/v1/decrypt");
    assert_eq!(length(&headers(&[]), decrypt).unwrap_err().code, Code::LengthRequired);
    assert_eq!(length(&headers(&[(CONTENT_LENGTH, "7")]), decrypt), Ok(7));
    let chunked = headers(&[(CONTENT_LENGTH, "7"), (TRANSFER_ENCODING, "chunked")]);
    assert_eq!(length(&chunked, decrypt).unwrap_err().code, Code::LengthRequired);
    let endless = headers(&[(CONTENT_LENGTH, "99999999999999999999999")]);
    assert_eq!(length(&endless, decrypt).unwrap_err().code, Code::BodyTooLarge);
}
