//! Bundles in words: what one asks for, brings into force or takes away, for whoever signs it or gives
//! a share under it. What is not said here stands in `bundle diff`, value by value.

use std::collections::BTreeMap;

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle,
        armor::{fingerprint, format_public_key},
        body::{Custodian, Host, Label, RootSection},
    },
    digest::Digest,
};

/// What `new` changes, in sentences; from nothing, what it says. The order is that of weight: root,
/// boxes, images, then what is served.
#[must_use]
pub fn changes(old: Option<&Bundle>, new: &Bundle) -> Vec<String> {
    let mut out = Vec::new();
    root(old.map(|old| &old.root), &new.root, &mut out);
    hosts(old.map_or(&[][..], |old| &old.hosts), &new.hosts, &mut out);
    let images = |bundle: &Bundle| bundle.images.iter().map(|image| image.pcr11).collect();
    let (before, now): (Vec<Digest>, Vec<Digest>) =
        (old.map(images).unwrap_or_default(), images(new));
    for image in now.iter().filter(|image| !before.contains(image)) {
        out.push(format!("image {} may open the root", image.short()));
    }
    for image in before.iter().filter(|image| !now.contains(image)) {
        out.push(format!("image {} opens nothing any more, for ever", image.short()));
    }
    let clients = |bundle: &Bundle| by_name(&bundle.service.clients, |client| &client.name);
    named("client", &old.map(clients).unwrap_or_default(), &clients(new), &mut out);
    let keyrings = |bundle: &Bundle| by_name(&bundle.service.keyrings, |keyring| &keyring.name);
    named("keyring", &old.map(keyrings).unwrap_or_default(), &keyrings(new), &mut out);
    out
}

/// The sentences as a list.
#[must_use]
pub fn list(changes: &[String]) -> String {
    if changes.is_empty() {
        return "  - nothing that needs a sentence".to_owned();
    }
    changes.iter().map(|change| format!("  - {change}")).collect::<Vec<_>>().join("\n")
}

fn root(old: Option<&RootSection>, new: &RootSection, out: &mut Vec<String>) {
    let before = old.and_then(|old| old.established.as_ref());
    let now = new.established.as_ref();
    match (before, now) {
        (Some(before), Some(now)) if before.generation < now.generation => {
            out.push(format!(
                "root {} comes into force; tokens of root {} still decrypt",
                now.generation, before.generation
            ));
            let (k, names) = (old.map_or(0, |old| old.threshold), holders(old));
            out.push(format!(
                "the shares of root {} (any {k} of {names}) stay dangerous until every token is \
                 rewrapped; destroy them then, and no earlier",
                before.generation,
            ));
        }
        (Some(before), Some(now)) if before.fingerprint != now.fingerprint => out.push(format!(
            "ANOTHER ROOT under the same number {}: {} in place of {}",
            now.generation,
            now.fingerprint.short(),
            before.fingerprint.short()
        )),
        (Some(_), None) => out.push("the root is LEFT OUT: no box takes this".to_owned()),
        (None, Some(now)) => {
            out.push(format!("root {} is there: {}", now.generation, now.fingerprint.short()));
        }
        (Some(before), Some(now)) => {
            if let Some(old) = old.filter(|old| old.split != new.split) {
                let (k, names) = (old.threshold, holders(Some(old)));
                out.push(format!(
                    "the shares of split {} (any {k} of {names}) are taken no more, and yet open root \
                     {} for whoever holds {k} of them: have them destroyed",
                    old.split, now.generation,
                ));
            }
            if before.commitments != now.commitments && old.is_some_and(|o| o.split == new.split) {
                out.push(format!("OTHER SHARES under the same split {}", new.split));
            }
        }
        (None, None) => {}
    }
    if now.is_some()
        && old.is_none_or(|old| (old.split, &old.custodians) != (new.split, &new.custodians))
    {
        out.push(format!(
            "any {} of {} open it (split {})",
            new.threshold,
            holders(Some(new)),
            new.split
        ));
    }
    if let (Some(before), Some(now)) = (before, now)
        && before.serving != now.serving
    {
        out.push(format!(
            "boxes serve under the authority of root {} (before: {}): clients must trust it already",
            now.serving, before.serving
        ));
    }
    asked(old, new, out);
}

/// What genesis shall make.
fn asked(old: Option<&RootSection>, new: &RootSection, out: &mut Vec<String>) {
    let Some(asked) = new.asked() else { return };
    if old.is_some_and(|old| old.asked().is_some_and(|before| before == asked)) {
        return;
    }
    let all = names(asked.custodians);
    let what = match (asked.fresh, asked.generation) {
        (true, 1) => "asks for the first root".to_owned(),
        (true, generation) => format!(
            "asks for the next root, {generation}: the present one stays in use until a later bundle \
             names the new one"
        ),
        (false, generation) => format!("asks for new shares of root {generation}, which stays"),
    };
    out.push(format!(
        "{what}; any {} of {all} shall open it (split {})",
        asked.threshold, asked.split
    ));
    if new.established.is_some() {
        let present = |c: &&Custodian| new.custodians.iter().any(|o| o.name == c.name);
        let coming: Vec<&Custodian> = asked.custodians.iter().filter(|c| !present(c)).collect();
        let stays = |c: &&Custodian| asked.custodians.iter().any(|o| o.name == c.name);
        let going: Vec<&Custodian> = new.custodians.iter().filter(|c| !stays(c)).collect();
        for (word, list) in [("new", coming), ("leaving", going)] {
            if !list.is_empty() {
                let list: Vec<&str> = list.iter().map(|c| c.name.as_str()).collect();
                out.push(format!("custodians {word}: {}", list.join(", ")));
            }
        }
    }
}

fn hosts(old: &[Host], new: &[Host], out: &mut Vec<String>) {
    for host in new {
        let name = &host.name;
        let Some(before) = old.iter().find(|old| old.name == *name) else {
            out.push(format!("box {name} may hold the root: EK {}", host.ek.fingerprint().short()));
            continue;
        };
        if (&before.ek, &before.ak) != (&host.ek, &host.ak) {
            out.push(format!(
                "box {name} is ANOTHER BOARD: EK {} in place of {}",
                host.ek.fingerprint().short(),
                before.ek.fingerprint().short()
            ));
        }
        for value in host.pcr7.iter().filter(|value| !before.pcr7.contains(value)) {
            out.push(format!("box {name} may also boot with PCR 7 {}", value.short()));
        }
        for value in before.pcr7.iter().filter(|value| !host.pcr7.contains(value)) {
            out.push(format!("box {name} opens nothing with PCR 7 {} any more", value.short()));
        }
        for value in host.boot_applications.iter().filter(|v| !before.boot_applications.contains(v))
        {
            out.push(format!("box {name} may also measure the application {}", value.short()));
        }
        if before.network != host.network {
            out.push(format!("box {name} has other addresses"));
        }
        match (before.retired, host.retired) {
            (false, true) => out.push(format!("box {name} is retired: it destroys what it holds")),
            (true, false) => out.push(format!("box {name} is no longer retired")),
            _ => {}
        }
        match (before.sealed, host.sealed) {
            (true, false) => out.push(format!("box {name} keeps nothing any more")),
            (false, true) => out.push(format!("box {name} keeps the root sealed from now on")),
            _ => {}
        }
    }
    for gone in old.iter().filter(|old| new.iter().all(|host| host.name != old.name)) {
        out.push(format!("box {} is no longer listed: it gets no root and no bundle", gone.name));
    }
}

fn by_name<T: Clone>(all: &[T], name: impl Fn(&T) -> &Label) -> BTreeMap<Label, T> {
    all.iter().map(|entry| (name(entry).clone(), entry.clone())).collect()
}

fn named<T: PartialEq>(
    what: &str,
    old: &BTreeMap<Label, T>,
    new: &BTreeMap<Label, T>,
    out: &mut Vec<String>,
) {
    for (name, now) in new {
        match old.get(name) {
            None => out.push(format!("{what} {name} is new")),
            Some(before) if before != now => out.push(format!("{what} {name} changes")),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        out.push(format!("{what} {name} is gone"));
    }
}

fn holders(root: Option<&RootSection>) -> String {
    root.map_or_else(String::new, |root| names(&root.custodians))
}

fn names(custodians: &[Custodian]) -> String {
    custodians.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Signers, as `ssh-keygen -l` shows them.
#[must_use]
pub fn signers(anchors: &Anchors) -> Vec<String> {
    let kind = |blob: &[u8]| format_public_key(blob).ok()?.split(' ').next().map(ToOwned::to_owned);
    let one = |blob: &Vec<u8>| {
        format!("{} ({})", fingerprint(blob), kind(blob).unwrap_or_else(|| "unknown".to_owned()))
    };
    anchors.signers.iter().map(one).collect()
}
