//! What `site` promises, tested.

use std::fs;

use super::*;

#[test]
fn a_directory_that_is_no_site_says_how_to_make_one() {
    let failure = Site::open(Path::new("/nonexistent")).unwrap_err();
    assert_eq!((failure.code(), failure.exit_code()), ("no-site", 2));
}

#[test]
fn templates_are_read_as_they_are_written() {
    let text = template::site("example", 1, &["ssh-ed25519 AAAA x".into()]);
    let site = SiteSource::parse(&text).unwrap();
    assert_eq!((site.namespace.as_str(), site.threshold), ("example", 1));
    let custodians = [("alice".to_owned(), "age1x".to_owned())];
    let text = template::bundle("2026-11-24T11:00:00Z", 8443, 1, &custodians);
    let bundle = BundleSource::parse(&text).unwrap();
    assert_eq!((bundle.seq, bundle.root.custodian.len()), (1, 1));
    // What is commented out is as right as what is not.
    let is_toml = |line: &&str| {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let all: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(is_toml).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let bundle = BundleSource::parse(&all).unwrap();
    assert_eq!((bundle.keyring.len(), bundle.client.len()), (1, 1));
    ImagesSource::parse(template::IMAGES).unwrap();
}

#[test]
fn a_file_is_written_whole_and_only_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    assert_eq!(write(&path, b"1").unwrap(), Written::New);
    assert_eq!(write(&path, b"1").unwrap(), Written::Same);
    assert_eq!(write(&path, b"2").unwrap(), Written::Changed);
    assert_eq!(fs::read(&path).unwrap(), b"2");
    // A link that somebody put where the draft will stand is not followed.
    let victim = dir.path().join("victim");
    fs::write(&victim, b"mine").unwrap();
    let draft = path.with_file_name(format!(".b.{}", std::process::id()));
    std::os::unix::fs::symlink(&victim, draft).unwrap();
    assert_eq!(write(&path, b"3").unwrap(), Written::Changed);
    assert_eq!(
        (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
        (b"3".into(), b"mine".into())
    );
    assert!(!path.is_symlink());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}
