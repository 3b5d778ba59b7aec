//! Whether a request, or a genesis answer, comes from a box of this site that runs a listed image
//! under the site's Secure Boot keys (design, section 5). Workstation only; offline.

mod refusal;

pub use refusal::{Reason, Refusal};

use super::{
    Claims, Request,
    endorsement::EndorsementKey,
    eventlog::EventLog,
    firmware::{self, SecureBoot},
    public::{AttestationKey, PublicError},
    quote::{self, Clock, PCRS},
};
use crate::{
    anchors::Anchors,
    bundle::body::{Bundle, EkTemplate, Host, Image},
    digest::{Digest, Name, hex, parse_hex},
    efi::variable::Update,
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
        name.fingerprint().0.starts_with(&self.0)
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
        return Err(Refusal::new(Reason::WrongNonce, hex(expected.nonce), hex(&request.nonce)));
    }
    let (ek, ak) = identity(request, expected.host)?;
    let pcrs = <[Digest; PCRS]>::try_from(request.pcrs.as_slice())
        .map_err(|_| Refusal::new(Reason::PcrCount, PCRS, request.pcrs.len()))?;
    let extra_data = request.claims.extra_data(expected.nonce);
    let clock = quote::check(&request.attest, &request.signature, &ak, &pcrs, &extra_data)?;
    if !["unprovisioned", "locked", "operational"].contains(&request.claims.phase.as_str()) {
        let known = "unprovisioned, locked or operational";
        return Err(Refusal::new(Reason::UnknownPhase, known, &request.claims.phase));
    }
    let log = EventLog::parse(&request.event_log)?;
    let entered = replay(&log, &pcrs)?;
    secure_boot(&log, expected.anchors)?;
    let (image, other_applications) = applications(&log, entered, request, expected)?;
    if let Known::Listed(host) = expected.host {
        one_of(Reason::Pcr7NotListed, &host.pcr7, &pcrs[7])?;
        for application in &other_applications {
            one_of(Reason::UnlistedApplication, &host.boot_applications, application)?;
        }
    } else if other_applications.len() > BOOT_APPLICATIONS {
        return Err(Refusal::new(
            Reason::UnlistedApplication,
            format!("at most {BOOT_APPLICATIONS} other boot applications"),
            other_applications.len(),
        ));
    }
    let claims = request.claims.clone();
    Ok(Attested { claims, ek, ak, pcrs, image, other_applications, clock })
}

/// Verifies a genesis answer: quoted by the box that the request was verified for, in the same boot,
/// for this bundle and its custodians.
///
/// # Errors
/// The first thing that does not hold.
pub fn genesis(
    answer: &genesis::Answer,
    attested: &Attested,
    bundle: &Bundle,
    bundle_digest: &Digest,
) -> Result<(), Refusal> {
    let extra_data = answer.extra_data();
    quote::check(&answer.attest, &answer.signature, &attested.ak, &attested.pcrs, &extra_data)?;
    let asked = bundle.root.asked().ok_or_else(|| {
        Refusal::new(Reason::GenesisNotAsked, "a bundle that asks for a root or a split", "none")
    })?;
    equal(Reason::GenesisBundle, bundle_digest, &answer.bundle)?;
    equal(Reason::GenesisGeneration, asked.generation, answer.generation)?;
    equal(Reason::GenesisSplit, asked.split, answer.split)?;
    for count in [answer.shares.len(), answer.commitments.len()] {
        equal(Reason::GenesisCustodians, asked.custodians.len(), count)?;
    }
    let wrapped = asked.fresh && asked.generation > 1;
    equal(Reason::GenesisWrapped, wrapped, answer.wrapped.is_some())?;
    Ok(())
}

/// Both keys, and whether they are the ones that were expected.
fn identity(
    request: &Request,
    known: Known<'_>,
) -> Result<(EndorsementKey, AttestationKey), Refusal> {
    let ek = EndorsementKey::parse(&request.ek_public).map_err(|error| {
        Refusal::new(Reason::EkTemplate, "an EK of template L-2 (P-256) or H-3 (P-384)", error)
    })?;
    let ak = AttestationKey::parse(&request.ak_public).map_err(|error| {
        let reason = match error {
            PublicError::Attributes(_) => Reason::AkAttributes,
            _ => Reason::AkMalformed,
        };
        Refusal::new(
            reason,
            "a restricted ECDSA P-256 signing key that cannot leave its TPM",
            error,
        )
    })?;
    match known {
        Known::Listed(host) => {
            equal(
                Reason::WrongEk,
                host.ek.fingerprint().grouped(),
                ek.name().fingerprint().grouped(),
            )?;
            equal(Reason::WrongAk, &host.ak, ak.name())?;
        }
        Known::New(fingerprint) if fingerprint.matches(ek.name()) => {}
        Known::New(Fingerprint(prefix)) => {
            let found = ek.name().fingerprint().grouped();
            return Err(Refusal::new(Reason::WrongEk, hex(prefix), found));
        }
    }
    Ok((ek, ak))
}

/// The log explains every quoted PCR; PCR 11 with the two words of PID 1 (decision 9). What PCR 11
/// held at `enter-casemate`.
fn replay(log: &EventLog<'_>, pcrs: &[Digest; PCRS]) -> Result<Digest, Refusal> {
    let mut replayed = log.replay();
    let entered = measure::phase(replayed[11], measure::ENTER);
    replayed[11] = measure::phase(entered, measure::LEAVE);
    for (index, (replayed, quoted)) in replayed.iter().zip(pcrs).enumerate() {
        let reason = match index {
            12 | 13 => continue,
            11 => Reason::Phase,
            _ => Reason::EventLogReplay,
        };
        if replayed != quoted {
            let (expected, found) = (format!("PCR {index} = {quoted}"), replayed);
            return Err(Refusal::new(reason, expected, found));
        }
    }
    for (index, reason) in [(12, Reason::Pcr12Extended), (13, Reason::Pcr13Extended)] {
        equal(reason, Digest::ZERO, pcrs[index])?;
    }
    Ok(entered)
}

/// Secure Boot is on, under exactly the site's keys, and nothing but the site's db let anything run.
/// dbx is not compared: it can only forbid more, and PCR 7 is pinned with it.
fn secure_boot(log: &EventLog<'_>, anchors: &Anchors) -> Result<(), Refusal> {
    let state = SecureBoot::read(log)?;
    if state.enabled != [1] {
        return Err(Refusal::new(Reason::SecureBootOff, "SecureBoot = 01", hex(state.enabled)));
    }
    let mut db = Vec::new();
    for (reason, update, found) in [
        (Reason::ForeignPk, &anchors.pk, state.pk),
        (Reason::ForeignKek, &anchors.kek, state.kek),
        (Reason::ForeignDb, &anchors.db, state.db),
    ] {
        let update = Update::parse(update)
            .map_err(|error| Refusal::new(Reason::Anchors, "a signed variable update", error))?;
        if update.list != found {
            return Err(Refusal::new(reason, contents(update.list), contents(found)));
        }
        db = update
            .certificates()
            .map_err(|error| Refusal::new(Reason::Anchors, "certificates", error))?;
    }
    let ours = |data: &[u8]| {
        data.split_first_chunk()
            .is_some_and(|(owner, der)| db.iter().any(|(o, d)| o.0 == *owner && *d == der))
    };
    if let Some(foreign) = state.authorities.iter().find(|data| !ours(data)) {
        return Err(Refusal::new(
            Reason::ForeignAuthority,
            "a certificate of the site's db",
            contents(foreign),
        ));
    }
    if state.authorities.is_empty() {
        return Err(Refusal::new(Reason::NoAuthority, "a certificate of the site's db", "none"));
    }
    Ok(())
}

/// The image that PCR 11 names is listed, claimed, and what the firmware started last; the others.
fn applications(
    log: &EventLog<'_>,
    entered: Digest,
    request: &Request,
    expected: &Expected<'_>,
) -> Result<(Image, Vec<Digest>), Refusal> {
    equal(Reason::WrongImageClaim, entered, request.claims.image)?;
    let Some(image) = expected.images.iter().find(|image| image.pcr11 == entered) else {
        let ids: Vec<Digest> = expected.images.iter().map(|image| image.pcr11).collect();
        return Err(Refusal::new(Reason::ImageNotListed, list(&ids), entered));
    };
    let mut applications = firmware::applications(log)?;
    let last = applications.pop();
    if last != Some(image.authenticode) {
        let found = last.map_or_else(|| "none".to_owned(), |last| last.to_string());
        return Err(Refusal::new(Reason::LastApplication, image.authenticode, found));
    }
    // The image itself may have been started before (a trial that fell back).
    applications.retain(|application| *application != image.authenticode);
    applications.sort_unstable();
    applications.dedup();
    Ok((image.clone(), applications))
}

fn equal<T: PartialEq + std::fmt::Display>(
    reason: Reason,
    expected: T,
    found: T,
) -> Result<(), Refusal> {
    if expected == found { Ok(()) } else { Err(Refusal::new(reason, expected, found)) }
}

fn one_of(reason: Reason, listed: &[Digest], found: &Digest) -> Result<(), Refusal> {
    if listed.contains(found) { Ok(()) } else { Err(Refusal::new(reason, list(listed), found)) }
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

#[cfg(test)]
mod tests;
