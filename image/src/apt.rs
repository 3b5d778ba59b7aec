//! An apt state of our own, with the releases that the lock names: the host's apt is neither needed in
//! that release nor touched. Only the archive's address is the host's.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    cache,
    run::{command, output, say},
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lays the state and fetches the index of the two releases; gives the options (`-o`) that make apt use
/// it.
///
/// # Errors
/// The host has no source for Debian's archive, or the archive does not answer.
pub fn open() -> Result<Vec<String>> {
    let state = cache::root()?.join("apt");
    for folder in ["lists/partial", "archives/partial", "sources"] {
        fs::create_dir_all(state.join(folder))?;
    }
    let _lock = cache::lock(&state.join("lock"))?;
    fs::write(state.join("status"), "")?;
    let uri = archive_uri()?;
    if !Path::new(KEYRING).exists() {
        bail!("expected {KEYRING} (package debian-archive-keyring): `image/prepare` installs it");
    }
    let entry = |suite: &str, types: &str| {
        format!(
            "Types: {types}\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
        )
    };
    let sources = format!("{}\n{}", entry("trixie", "deb deb-src"), entry("bookworm", "deb"));
    fs::write(state.join("sources/casemate.sources"), sources)?;
    let path = |name: &str| state.join(name).display().to_string();
    let mut options = vec![
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", path("sources")),
        "Dir::Etc::preferences=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", path("lists")),
        format!("Dir::State::status={}", path("status")),
        format!("Dir::Cache={}", path("")),
        format!("Dir::Cache::archives={}", path("archives")),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=3".to_owned(),
        "APT::Get::List-Cleanup=false".to_owned(),
    ];
    // The cache is the user's own; as root, apt would drop to a user who cannot read it.
    options.push("APT::Sandbox::User=root".to_owned());
    say("sources", "fetching the archive's signed index (about 20 s)");
    let mut update = command("apt-get");
    for option in &options {
        update.args(["-o", option]);
    }
    output(update.args(["-q", "update", "--error-on=any"])).with_context(|| {
        format!("the archive {uri} cannot be read; a network, or a filled cache, is needed")
    })?;
    Ok(options)
}

/// Where the host's own apt gets Debian from.
fn archive_uri() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("expected a Debian host")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("expected VERSION_CODENAME in /etc/os-release: is this Debian 12 or 13?")?
        .trim_matches('"');
    let targets = output(command("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    pick_uri(&targets, codename).with_context(|| {
        format!("expected an apt source for Debian {codename} main on this host, found none")
    })
}

fn pick_uri(targets: &str, codename: &str) -> Option<String> {
    let stable = ["stable", "oldstable"];
    targets.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (uri, release, component) = (fields.next()?, fields.next()?, fields.next()?);
        let release_fits = release == codename || stable.contains(&release);
        let debian = uri.trim_end_matches('/').ends_with("/debian");
        (release_fits && component == "main" && debian).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_archive_is_found_among_others() {
        let targets = "\
https://packages.example.com/apt cloud-sdk-bookworm main
https://download.example.com/linux/debian bookworm stable
http://mirror.example.net/debian-security bookworm-security main
http://mirror.example.net/debian/ bookworm main
";
        assert_eq!(pick_uri(targets, "bookworm").unwrap(), "http://mirror.example.net/debian/");
        assert_eq!(pick_uri(targets, "trixie"), None);
    }
}
