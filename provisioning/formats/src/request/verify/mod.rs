//! Whether a request, or a genesis answer, comes from a box of this site that runs a listed image
//! under the site's Secure Boot keys (design, section 5). Workstation only; offline.

mod refusal;

pub use refusal::Refusal;

use std::fmt::Display;

use super::{
    Claims, Request,
    endorsement::EndorsementKey,
    eventlog::EventLog,
    firmware::{self, SecureBoot},
    public::AttestationKey,
    quote::{self, Clock, PCRS},
};
use crate::{
    anchors::Anchors,
    bundle::body::{Bundle, EkTemplate, Host, Image},
    code::Code,
    digest::{Digest, Name, hex, parse_hex},
    efi::variable::{Update, within},
    genesis,
    limits::BOOT_APPLICATIONS,
    measure,
};

/// What the verifier knows before it looks.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The nonce that was asked with.
    pub nonce: &'a [u8; 32],
    /// The site's Secure Boot variables.
    pub anchors: &'a Anchors,
    /// Images that may run.
    pub images: &'a [Image],
    /// Which box it must be.
    pub host: Known<'a>,
}

/// Which box it must be.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// One with a host record: EK, AK and PCR 7 are pinned, other boot applications are listed.
    Listed(&'a Host),
    /// One with a host record whose firmware may be another than when it was listed: EK and AK are
    /// pinned. PCR 7 and other boot applications are then for the caller to show.
    Changed(&'a Host),
    /// A new one: the fingerprint is what a person read from its console. AK, PCR 7 and other boot
    /// applications are then for the caller to show, and the AK to challenge.
    New(&'a Fingerprint),
}

/// The fingerprint of an EK Name as people type it: at least the half that a console shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Hex digits in any groups, 128 to 256 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b" :-".contains(b)).collect();
        let bytes = parse_hex(&digits)?;
        (16..=32).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Whether it is (the beginning of) this name's fingerprint.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        self.is_start_of(&name.fingerprint())
    }

    /// Whether it is (the beginning of) this digest.
    #[must_use]
    pub fn is_start_of(&self, digest: &Digest) -> bool {
        digest.0.starts_with(&self.0)
    }
}

/// A request that was verified. Only [`request`] makes one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attested {
    /// What the quote binds: phase, bundle, log, this boot's keys.
    pub claims: Claims,
    /// The endorsement key.
    pub ek: EndorsementKey,
    /// The attestation key.
    pub ak: AttestationKey,
    /// Quoted values of PCRs 0 to 15.
    pub pcrs: [Digest; PCRS],
    /// The listed image that runs.
    pub image: Image,
    /// What else the firmware measured as a boot application, each once.
    pub other_applications: Vec<Digest>,
    /// The TPM's clock and reset counts.
    pub clock: Clock,
}

impl Attested {
    /// Names and template, as a host record pins them.
    #[must_use]
    pub fn identity(&self) -> (Name, EkTemplate, Name) {
        (self.ek.name().clone(), self.ek.template(), self.ak.name().clone())
    }

    /// The PCR 7 that a host record lists.
    #[must_use]
    pub const fn pcr7(&self) -> Digest {
        self.pcrs[7]
    }
}

/// Verifies a request: identity, quote, event log, Secure Boot, image, in this order.
///
/// # Errors
/// The first thing that does not hold, by name, with what was expected and found.
pub fn request(request: &Request, expected: &Expected<'_>) -> Result<Attested, Refusal> {
    if request.nonce != *expected.nonce {
        return Err(Refusal::new(Code::WrongNonce, hex(expected.nonce), hex(&request.nonce)));
    }
    let (ek, ak) = identity(request, expected.host)?;
    let pcrs = sixteen(&request.pcrs)?;
    let extra_data = request.claims.extra_data(expected.nonce);
    let clock = quote::check(&request.attest, &request.signature, &ak, &pcrs, &extra_data)?;
    if !["unprovisioned", "locked", "operational"].contains(&request.claims.phase.as_str()) {
        let known = "unprovisioned, locked or operational";
        return Err(Refusal::new(Code::QuoteContent, known, &request.claims.phase));
    }
    let log = EventLog::parse(&request.event_log)?;
    let entered = replay(&log, &pcrs)?;
    secure_boot(&log, expected.anchors)?;
    let (image, other_applications) = applications(&log, entered, request, expected)?;
    if let Known::Listed(host) = expected.host {
        one_of(Code::HostMismatch, "PCR 7", &host.pcr7, &pcrs[7])?;
        for application in &other_applications {
            one_of(
                Code::BootApplication,
                "boot application",
                &host.boot_applications,
                application,
            )?;
        }
    } else if other_applications.len() > BOOT_APPLICATIONS {
        return Err(Refusal::new(
            Code::BootApplication,
            format!("at most {BOOT_APPLICATIONS} other boot applications"),
            other_applications.len(),
        ));
    }
    let claims = request.claims.clone();
    Ok(Attested { claims, ek, ak, pcrs, image, other_applications, clock })
}

/// Verifies a genesis answer against the bundle that asked for it: quoted by a listed box that runs a
/// listed image, for these custodians. The host that made it.
///
/// # Errors
/// [`Code::HostMismatch`], [`Code::ImageNotListed`], [`Code::PcrNotZero`]: not one of ours.
/// [`Code::GenesisAltered`]: not what the box quoted. [`Code::WrongBundle`]: made for another one.
pub fn genesis<'a>(
    answer: &genesis::Answer,
    bundle: &'a Bundle,
    bundle_digest: &Digest,
) -> Result<&'a Host, Refusal> {
    let ak = attestation_key(&answer.ak_public)?;
    let host = bundle.hosts.iter().find(|host| host.ak == *ak.name()).ok_or_else(|| {
        Refusal::new(Code::HostMismatch, "the attestation key of a listed host", ak.name())
    })?;
    let pcrs = sixteen(&answer.pcrs)?;
    quote::check(&answer.attest, &answer.signature, &ak, &pcrs, &answer.extra_data()).map_err(
        |error| {
            let Refusal { expected, found, .. } = error.into();
            Refusal::new(Code::GenesisAltered, expected, found)
        },
    )?;
    one_of(Code::HostMismatch, "PCR 7", &host.pcr7, &pcrs[7])?;
    let left = |image: &Image| measure::phase(image.pcr11, measure::LEAVE);
    let images: Vec<Digest> = bundle.images.iter().map(left).collect();
    one_of(Code::ImageNotListed, "PCR 11", &images, &pcrs[11])?;
    zero(&pcrs)?;
    let asked = bundle.root.asked().ok_or_else(|| {
        Refusal::new(Code::WrongBundle, "a bundle that asks for a root or a split", "neither")
    })?;
    equal(Code::WrongBundle, "bundle", bundle_digest, &answer.bundle)?;
    equal(Code::GenesisAltered, "generation", &asked.generation, &answer.generation)?;
    equal(Code::GenesisAltered, "split", &asked.split, &answer.split)?;
    equal(Code::GenesisAltered, "shares", &asked.custodians.len(), &answer.shares.len())?;
    equal(Code::GenesisAltered, "commitments", &asked.custodians.len(), &answer.commitments.len())?;
    let wrapped = asked.fresh && asked.generation > 1;
    equal(Code::GenesisAltered, "wrapped older root", &wrapped, &answer.wrapped.is_some())?;
    Ok(host)
}

/// Both keys, and whether they are the ones that were expected.
fn identity(
    request: &Request,
    known: Known<'_>,
) -> Result<(EndorsementKey, AttestationKey), Refusal> {
    let ek = EndorsementKey::parse(&request.ek_public).map_err(|error| {
        Refusal::new(Code::EndorsementKey, "an EK of template L-2 (P-256) or H-3 (P-384)", error)
    })?;
    let ak = attestation_key(&request.ak_public)?;
    match known {
        Known::Listed(host) | Known::Changed(host) => {
            let (listed, found) = (host.ek.fingerprint(), ek.name().fingerprint());
            equal(Code::HostMismatch, "EK", &listed.grouped(), &found.grouped())?;
            equal(Code::HostMismatch, "AK", &host.ak, ak.name())?;
        }
        Known::New(fingerprint) if fingerprint.matches(ek.name()) => {}
        Known::New(Fingerprint(prefix)) => {
            let found = ek.name().fingerprint().grouped();
            return Err(Refusal::new(Code::EndorsementKey, hex(prefix), found));
        }
    }
    Ok((ek, ak))
}

fn attestation_key(public: &[u8]) -> Result<AttestationKey, Refusal> {
    AttestationKey::parse(public).map_err(|error| {
        let expected = "a restricted ECDSA P-256 signing key that cannot leave its TPM";
        Refusal::new(Code::AttestationKey, expected, error)
    })
}

fn sixteen(pcrs: &[Digest]) -> Result<[Digest; PCRS], Refusal> {
    pcrs.try_into().map_err(|_| {
        Refusal::new(Code::QuoteMalformed, "16 PCR values", format_args!("{} values", pcrs.len()))
    })
}

/// The log explains every quoted PCR; PCR 11 with the two words of PID 1 (decision 9). What PCR 11
/// held at `enter-casemate`.
fn replay(log: &EventLog<'_>, pcrs: &[Digest; PCRS]) -> Result<Digest, Refusal> {
    let mut replayed = log.replay();
    let entered = measure::phase(replayed[11], measure::ENTER);
    replayed[11] = measure::phase(entered, measure::LEAVE);
    zero(pcrs)?;
    for (index, (replayed, quoted)) in replayed.iter().zip(pcrs).enumerate() {
        equal(Code::EventLogMismatch, &format!("PCR {index}"), quoted, replayed)?;
    }
    Ok(entered)
}

fn zero(pcrs: &[Digest; PCRS]) -> Result<(), Refusal> {
    equal(Code::PcrNotZero, "PCR 12", &Digest::ZERO, &pcrs[12])?;
    equal(Code::PcrNotZero, "PCR 13", &Digest::ZERO, &pcrs[13])
}

/// Secure Boot is on, under exactly the site's keys, and nothing but the site's db let anything run.
/// dbx is not compared: it can only forbid more, and PCR 7 is pinned with it.
fn secure_boot(log: &EventLog<'_>, anchors: &Anchors) -> Result<(), Refusal> {
    let state = SecureBoot::read(log)?;
    if state.enabled != [1] {
        let found = format!("SecureBoot {}", hex(state.enabled));
        return Err(Refusal::new(Code::SecureBootOff, "SecureBoot 01", found));
    }
    let unreadable = |error| {
        Refusal::new(Code::SecureBootKeys, "signed variable updates in the site's anchors", error)
    };
    for (name, update, found) in [
        ("PK", &anchors.pk, state.pk),
        ("KEK", &anchors.kek, state.kek),
        ("db", &anchors.db, state.db),
    ] {
        let expected = Update::parse(update).map_err(unreadable)?.list;
        // A machine that has not got the site's newest certificate yet; its PCR 7 is pinned all the same.
        if name == "db" && within(found, expected) {
            continue;
        }
        equal(Code::SecureBootKeys, name, &contents(expected), &contents(found))?;
    }
    let certificates =
        Update::parse(&anchors.db).and_then(|db| db.certificates()).map_err(unreadable)?;
    let entries: Vec<Vec<u8>> =
        certificates.iter().map(|(owner, der)| [&owner.0, *der].concat()).collect();
    let expected = "only certificates of the site's db, at least one";
    match state.authorities.iter().find(|found| !entries.iter().any(|entry| entry == *found)) {
        Some(foreign) => Err(Refusal::new(Code::BootAuthority, expected, contents(foreign))),
        None if state.authorities.is_empty() => {
            Err(Refusal::new(Code::BootAuthority, expected, "none"))
        }
        None => Ok(()),
    }
}

/// The image that PCR 11 names is listed, claimed, and what the firmware started last; the others.
fn applications(
    log: &EventLog<'_>,
    entered: Digest,
    request: &Request,
    expected: &Expected<'_>,
) -> Result<(Image, Vec<Digest>), Refusal> {
    equal(Code::QuoteContent, "image", &entered, &request.claims.image)?;
    let Some(image) = expected.images.iter().find(|image| image.pcr11 == entered) else {
        let ids: Vec<Digest> = expected.images.iter().map(|image| image.pcr11).collect();
        return Err(Refusal::new(Code::ImageNotListed, list(&ids), entered));
    };
    let mut applications = firmware::applications(log)?;
    let last = applications.pop();
    if last != Some(image.authenticode) {
        let found = last.map_or_else(|| "none".to_owned(), |last| last.to_string());
        return Err(Refusal::new(Code::BootApplication, image.authenticode, found));
    }
    // The image itself may have been started before (a trial that fell back).
    applications.retain(|application| *application != image.authenticode);
    applications.sort_unstable();
    applications.dedup();
    Ok((image.clone(), applications))
}

fn equal<T: PartialEq + Display>(
    code: Code,
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::new(code, format_args!("{what} {expected}"), format_args!("{what} {found}")))
}

fn one_of(code: Code, what: &str, listed: &[Digest], found: &Digest) -> Result<(), Refusal> {
    if listed.contains(found) {
        return Ok(());
    }
    Err(Refusal::new(
        code,
        format_args!("{what} one of: {}", list(listed)),
        format_args!("{what} {found}"),
    ))
}

fn list(digests: &[Digest]) -> String {
    match digests {
        [] => "none".to_owned(),
        all => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Long content by its size and hash, so that two of them can be told apart.
fn contents(bytes: &[u8]) -> String {
    format!("{} bytes, SHA-256 {}", bytes.len(), Digest::sha256(bytes))
}
