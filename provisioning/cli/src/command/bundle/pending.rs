//! A root that the bundle names and only the box that made it holds: given to every other box that
//! serves, before any of them is told of the bundle.

use std::path::Path;

use casemate_formats::{
    bundle::{Bundle, Verified, wire::body_digest},
    digest::Digest,
};

use crate::{
    command::forward::operator,
    forwarding::{self, Outcome},
    output::{Failure, Output},
    reach::{self, Listed},
    site::{Site, bundle_failure, read_envelope},
};

/// The box that made the root which `bundle` names, where that is not the first one and the site still
/// has the genesis answer.
///
/// # Errors
/// An answer of the site does not hold.
pub(super) fn maker(site: &Site, bundle: &Verified) -> Result<Option<String>, Failure> {
    let Some(known) = &bundle.bundle().root.established else { return Ok(None) };
    if known.generation < 2 {
        return Ok(None);
    }
    let answers = site.genesis()?.answers;
    let made = answers.iter().find(|(asked_by, answer)| {
        let fresh = asked_by.bundle().root.asked().is_some_and(|asked| asked.fresh);
        fresh && (answer.generation, answer.fingerprint) == (known.generation, known.fingerprint)
    });
    let Some((asked_by, answer)) = made else { return Ok(None) };
    let hosts = &asked_by.bundle().hosts;
    let ak = casemate_formats::request::public::AttestationKey::parse(&answer.ak_public)
        .map_err(|error| Failure::refused("attestation-key", error.to_string()))?;
    Ok(hosts.iter().find(|host| host.ak == *ak.name()).map(|host| host.name.to_string()))
}

/// Forwards from `maker` to those of `others` that serve and have not taken the bundle yet. Nothing is
/// pushed when one of them cannot get it: it would be left behind under the old root.
///
/// # Errors
/// A box that serves did not take the root; a box cannot be asked; no client that may operate.
pub(super) fn forward(
    site: &Site,
    bundle: &Verified,
    maker: &str,
    others: &[&String],
    client: Option<&Path>,
    listed: &impl Fn(&str) -> Result<Listed, Failure>,
    output: &Output,
) -> Result<(), Failure> {
    let newest = bundle.bundle().root.established.as_ref().map_or(0, |known| known.generation);
    for host in others {
        let behind = |failure: Failure| {
            failure
                .prefixed(format_args!("{host} would be left behind: nothing was pushed"))
                .next(format_args!(
                    "bring {host} up and push again; or `casemate host remove {host}` if it is lost; \
                     or push to each of the others with --host"
                ))
        };
        let mut taker = listed(host).map_err(behind)?;
        let claims = taker.attest().map_err(behind)?.claims;
        let under = generation_under(site, &claims.bundle)?;
        let behind_by_one = under.is_some_and(|generation| generation < newest);
        if claims.phase != "operational" || !behind_by_one {
            continue;
        }
        let identity = operator(client, "forwarding a new root")?;
        let mut giver = reach::listed(site.clone(), bundle.clone(), maker, None, Some(identity))?;
        match forwarding::forward(&mut giver, &mut taker, true).map_err(behind)? {
            Outcome::Taken { pending: true, .. } => {
                output.note(format_args!("{host:<16}has the new root from {maker}"));
            }
            Outcome::AlreadyOpen | Outcome::Taken { pending: false, .. } => {
                return Err(behind(
                    Failure::refused(
                        "no-pending-root",
                        format!("{maker} holds no new root any more"),
                    )
                    .expected("the box that made the root, under the bundle that asked for it"),
                ));
            }
        }
    }
    Ok(())
}

/// Generation of the root under a bundle of the site; `None`: not one of its bundles. (A box under a
/// bundle that nobody here knows refuses by itself what it cannot open.)
fn generation_under(site: &Site, digest: &Digest) -> Result<Option<u32>, Failure> {
    for path in site.bundles()?.values().rev() {
        let body = read_envelope(path)?.body;
        if body_digest(&body) == *digest {
            let bundle = Bundle::decode(&body).map_err(|e| bundle_failure(path, &e.into()))?;
            return Ok(Some(bundle.root.established.map_or(0, |known| known.generation)));
        }
    }
    Ok(None)
}
