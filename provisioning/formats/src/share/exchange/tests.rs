//! What `exchange` promises, tested.

use super::*;
use crate::bundle::example::{digest, label};

fn ovmf(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/request/ovmf/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn request() -> RecoveryRequest {
    let answer = serde_json::from_slice(&ovmf("request.json")).unwrap();
    let names = (label("example"), label("alpha"));
    RecoveryRequest::new(names, ovmf("anchors"), ovmf("bundle"), answer)
}

fn sealed() -> SealedShare {
    SealedShare {
        format: FORMAT,
        namespace: label("example"),
        host: label("alpha"),
        custodian: label("ann"),
        commitment: digest("commitment"),
        message: Message {
            bundle: digest("bundle"),
            boot: digest("boot"),
            generation: 1,
            split: 2,
            sealed: vec![7; 84],
        },
    }
}

#[test]
fn both_files_keep_their_bytes() {
    crate::golden::golden("share/recovery.request", &serde_json::to_vec(&request()).unwrap());
    crate::golden::golden("share/sealed.json", &serde_json::to_vec(&sealed()).unwrap());
    assert_eq!(RecoveryRequest::parse(&serde_json::to_vec(&request()).unwrap()), Ok(request()));
    assert_eq!(SealedShare::parse(&serde_json::to_vec(&sealed()).unwrap()), Ok(sealed()));
}

#[test]
fn cuts_additions_repetitions_and_later_formats_are_refused() {
    let text = serde_json::to_string(&sealed()).unwrap();
    for at in 0..text.len() {
        assert!(SealedShare::parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
    }
    for (from, to) in [
        ("{\"format\":1,", "{\"format\":1,\"more\":1,"),
        ("{\"format\":1,", "{\"format\":1,\"format\":1,"),
        ("\"host\":\"alpha\"", "\"host\":\"Alpha\""),
        ("\"host\":\"alpha\",", ""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let error = SealedShare::parse(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, ExchangeError::Malformed(_)), "{changed}: {error}");
    }
    let later = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(SealedShare::parse(later.as_bytes()), Err(ExchangeError::UnknownVersion(2)));
    let large = vec![b' '; MAX_SEALED_BYTES + 1];
    assert!(matches!(SealedShare::parse(&large), Err(ExchangeError::TooLarge { .. })));
}
