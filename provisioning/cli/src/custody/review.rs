//! What a custodian decides on: a request, verified against what the custodian's share file remembers,
//! and told in words. Nothing of a request is believed before it has passed here.

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Verified, armor,
        body::{Custodian, Host},
        signature::Tally,
    },
    code::Code,
    digest::Digest,
    request::verify::{Attested, Expected, Fingerprint, Known, request},
    share::exchange::RecoveryRequest,
};

use super::Kept;
use crate::{output::Failure, words};

/// A request that passed.
#[derive(Debug)]
pub struct Review {
    /// Whom the custodian believes from now on.
    pub anchors: Anchors,
    /// Others than before, accepted by their fingerprint.
    pub anchors_accepted: bool,
    /// The bundle in force on the box.
    pub bundle: Verified,
    /// The box.
    pub host: Host,
    /// Whose share it is.
    pub custodian: Custodian,
    /// What the box proved.
    pub attested: Attested,
    seen: Option<Bundle>,
}

/// What a person accepts explicitly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accepted<'a> {
    /// Fingerprint of new anchors.
    pub anchors: Option<&'a Fingerprint>,
}

/// SHA-256 of encoded anchors: what people compare.
///
/// # Errors
/// Anchors that cannot be encoded; none that were decoded.
pub fn anchors_digest(anchors: &Anchors) -> Result<Digest, Failure> {
    let bytes = anchors.encode();
    bytes.map(|b| Digest::sha256(&b)).map_err(|e| Failure::refused("anchors", e.to_string()))
}

/// The refusal of other anchors than a custodian knows.
#[must_use]
pub fn anchors_changed(pinned: &Anchors, found: &Anchors) -> Failure {
    let digest = |anchors: &Anchors| {
        anchors_digest(anchors).map_or_else(|_| "?".to_owned(), |d| d.grouped())
    };
    let describe = |anchors: &Anchors| {
        format!(
            "{} of {}\n            anchors {}",
            anchors.threshold,
            words::signers(anchors).join(", "),
            digest(anchors)
        )
    };
    Failure::refused("anchors-changed", "the site's signers or Secure Boot keys are others now")
        .expected(describe(pinned))
        .found(describe(found))
        .next(
            "ask people you know whether they changed, and have the fingerprint read to you; then add \
             --accept-anchors FINGERPRINT",
        )
}

impl Review {
    /// Verifies a request wholly: anchors, bundle, share, box, in this order.
    ///
    /// # Errors
    /// The first thing that does not hold, by name.
    pub fn new(
        asked: &RecoveryRequest,
        kept: &Kept,
        pinned: &Anchors,
        accepted: Accepted<'_>,
    ) -> Result<Self, Failure> {
        let (anchors, anchors_accepted) = believed(asked, kept, pinned, accepted)?;
        let bundle = Verified::verify(&asked.bundle, &anchors).map_err(|error| {
            let code = error.code();
            Failure::from(code).found(error).next(
                "nothing was decrypted for the box; tell ops, the request holds a bundle that your \
                 signers did not sign",
            )
        })?;
        let seen = kept.seen()?;
        not_older(seen.as_ref(), &bundle)?;
        let root = &bundle.bundle().root;
        kept.file.is_of(root).map_err(|code| {
            let found =
                format!("a share of root {} (split {})", kept.file.generation, kept.file.split);
            let expected = match &root.established {
                None => "a bundle with a root".to_owned(),
                Some(known) => {
                    format!("a share of root {} (split {})", known.generation, root.split)
                }
            };
            Failure::from(code).expected(expected).found(found)
        })?;
        let hosts = &bundle.bundle().hosts;
        let host = hosts.iter().find(|host| host.name == asked.host).cloned().ok_or_else(|| {
            Failure::refused("host-not-in-bundle", "the bundle in force lists no such box")
                .expected(hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>().join(", "))
                .found(&asked.host)
                .next("do not seal; tell ops")
        })?;
        if host.retired {
            return Err(Failure::from(Code::Retired).found(&host.name));
        }
        let expected = Expected {
            nonce: &asked.request.nonce,
            anchors: &anchors,
            images: &bundle.bundle().images,
            host: Known::Listed(&host),
        };
        let attested = request(&asked.request, &expected)?;
        let claims = &attested.claims;
        if claims.bundle != bundle.digest() {
            return Err(Failure::from(Code::WrongBundle)
                .expected(bundle.digest())
                .found(crate::attest::or_none(&claims.bundle)));
        }
        if claims.phase != "locked" {
            return Err(Failure::from(Code::WrongPhase)
                .expected("a box that is locked: one that is open needs no share")
                .found(&claims.phase));
        }
        let before = seen.as_ref().and_then(|seen| kept.custodian(seen));
        let now = kept.custodian(bundle.bundle());
        let custodian = match (before, now) {
            // The share file is never encrypted to somebody else on a bundle's word.
            (Some(before), Some(now)) if before != now => {
                return Err(Failure::refused(
                    "recipient-changed",
                    "the bundle names you otherwise",
                )
                .expected(&before.name)
                .found(&now.name)
                .next("do not seal; tell ops: a share has one recipient as long as it lives"));
            }
            (_, Some(now)) => now.clone(),
            (_, None) => return Err(Code::WrongSplit.into()),
        };
        Ok(Self { anchors, anchors_accepted, bundle, host, custodian, attested, seen })
    }

    /// In words, for the custodian.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (bundle, claims) = (self.bundle.bundle(), &self.attested.claims);
        let mut out = vec![
            format!("site       {}", bundle.site.namespace),
            format!("box        {}, EK {}", self.host.name, self.host.ek.fingerprint().short()),
            format!("           locked, under the site's Secure Boot keys; PCR 7 as listed"),
            format!("image      {} (listed)", self.attested.image.pcr11.short()),
            format!("boot       {}", claims.hpke_key.short()),
            format!(
                "bundle     {}, issued {}, digest {}",
                bundle.site.seq,
                casemate_formats::bundle::source::format_time(bundle.site.issued),
                self.bundle.digest().short()
            ),
            format!("signed by  {}", self.signed_by().join("\n           ")),
            format!(
                "share      {}'s of root {} (split {}; any {} of {} open it)",
                self.custodian.name,
                bundle.root.established.as_ref().map_or(0, |known| known.generation),
                bundle.root.split,
                bundle.root.threshold,
                bundle.root.custodians.len()
            ),
        ];
        if self.anchors_accepted {
            out.push(format!(
                "signers    OTHERS than before: {}",
                words::signers(&self.anchors).join(", ")
            ));
        }
        let changes = words::changes(self.seen.as_ref(), bundle);
        match &self.seen {
            None => out.push("you have not seen a bundle of this site before; it says:".to_owned()),
            Some(seen) if seen.site.seq == bundle.site.seq => {
                out.push("it is the bundle that you saw last".to_owned());
            }
            Some(seen) => out.push(format!("since bundle {}, which you saw last:", seen.site.seq)),
        }
        out.push(words::list(&changes));
        out
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let bundle = self.bundle.bundle();
        serde_json::json!({
            "namespace": bundle.site.namespace,
            "host": self.host.name,
            "ek": self.host.ek.fingerprint(),
            "image": self.attested.image.pcr11,
            "boot": self.attested.claims.hpke_key,
            "seq": bundle.site.seq,
            "bundle": self.bundle.digest(),
            "signers": self.signed_by(),
            "custodian": self.custodian.name,
            "anchors_accepted": self.anchors_accepted,
            "seen": self.seen.as_ref().map(|seen| seen.site.seq),
            "changes": words::changes(self.seen.as_ref(), bundle),
        })
    }

    fn signed_by(&self) -> Vec<String> {
        let Ok(envelope) = casemate_formats::bundle::Envelope::parse(self.bundle.envelope()) else {
            return Vec::new();
        };
        let tally = Tally::count(&envelope.body, &envelope.signatures, &self.anchors);
        let blobs = tally.signers.iter().filter_map(|at| self.anchors.signers.get(*at));
        blobs.map(|blob| armor::fingerprint(blob)).collect()
    }
}

/// The anchors of the request, if they are the custodian's own or were accepted by fingerprint.
fn believed(
    asked: &RecoveryRequest,
    kept: &Kept,
    pinned: &Anchors,
    accepted: Accepted<'_>,
) -> Result<(Anchors, bool), Failure> {
    let found = Anchors::decode(&asked.anchors).map_err(|error| {
        Failure::refused("anchors", format!("the request's: {error}"))
            .next("have ops make the request again: `casemate share request`")
    })?;
    for namespace in [&asked.namespace, &found.namespace, &pinned.namespace] {
        if *namespace != kept.file.namespace {
            return Err(Failure::from(Code::ForeignNamespace)
                .expected(&kept.file.namespace)
                .found(namespace)
                .next(
                    "take the share file of that site, or tell ops that this is not their site",
                ));
        }
    }
    let accepted = believe(pinned, &found, accepted.anchors)?;
    Ok((found, accepted))
}

/// Whether `found` are the anchors that a custodian believes (`false`), or others that were accepted by
/// their fingerprint (`true`).
///
/// # Errors
/// `anchors-changed`, with both in words.
pub fn believe(
    pinned: &Anchors,
    found: &Anchors,
    accepted: Option<&Fingerprint>,
) -> Result<bool, Failure> {
    if found == pinned {
        return Ok(false);
    }
    let digest = anchors_digest(found)?;
    match accepted {
        Some(fingerprint) if fingerprint.is_start_of(&digest) => Ok(true),
        _ => Err(anchors_changed(pinned, found)),
    }
}

/// A fingerprint of anchors as people type it.
///
/// # Errors
/// Environment: it is none.
pub fn fingerprint(text: &str) -> Result<Fingerprint, Failure> {
    Fingerprint::parse(text).ok_or_else(|| {
        Failure::environment("fingerprint", "this is no fingerprint of anchors")
            .expected("at least eight groups of four hex digits")
            .found(text)
    })
}

/// No bundle is older than one that this custodian saw.
fn not_older(seen: Option<&Bundle>, bundle: &Verified) -> Result<(), Failure> {
    let Some(seen) = seen else { return Ok(()) };
    let (before, now) = (seen.site.seq, bundle.bundle().site.seq);
    let code = match now.cmp(&before) {
        std::cmp::Ordering::Less => Code::SeqLower,
        std::cmp::Ordering::Equal if seen.digest() != bundle.digest() => Code::SeqFork,
        _ => return Ok(()),
    };
    Err(Failure::from(code)
        .expected(format_args!("bundle {before} ({}) or a later one", seen.digest().short()))
        .found(format_args!("bundle {now} ({})", bundle.digest().short()))
        .next("do not seal: what the newer bundle forbids would be allowed again; tell ops"))
}
