//! Golden files, for tests: bytes that a format had once, and has for ever.

use std::{fs, path::Path};

/// Compares with `testdata/<name>`. A file that does not exist is a failure, unless
/// `CASEMATE_NEW_GOLDEN` is set: then it is written. An existing one is never changed.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if !path.exists() && std::env::var_os("CASEMATE_NEW_GOLDEN").is_some() {
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let expected = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(expected == bytes, "{name}: these are not the bytes that the format has");
}
