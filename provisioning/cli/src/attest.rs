//! Questions to a box: a request over a fresh nonce, verified; a challenge that proves that EK and AK
//! are in one TPM. After a verified request the connection trusts exactly the key that was quoted.

use casemate_formats::{
    anchors::Anchors,
    bundle::body::Image,
    code::Code,
    digest::Digest,
    request::{
        Ask, Credential, Request, credential,
        verify::{self, Attested, Expected, Known},
    },
};
use zeroize::Zeroizing;

use crate::{
    connection::{Connection, Trust},
    output::Failure,
};

/// What a box must be like.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The site's anchors.
    pub anchors: &'a Anchors,
    /// Images that may run.
    pub images: &'a [Image],
    /// Which box.
    pub host: Known<'a>,
}

/// Asks with a fresh nonce; nothing is verified.
///
/// # Errors
/// No connection, no randomness.
pub fn ask(
    connection: &mut Connection,
    credential: Option<Credential>,
) -> Result<([u8; 32], Request), Failure> {
    let nonce = random()?;
    let request = connection.post("/v1/request", &Ask { nonce, credential })?;
    Ok((nonce, request))
}

/// Asks, verifies, and pins the TLS key that the quote vouches for.
///
/// # Errors
/// Why the box is not one of the site, by name; or another TLS key than the quoted one.
pub fn verified(
    connection: &mut Connection,
    terms: Terms<'_>,
    credential: Option<Credential>,
) -> Result<(Request, Attested), Failure> {
    let (nonce, request) = ask(connection, credential)?;
    let attested = verify_with(&request, &nonce, terms)?;
    let (quoted, shown) = (attested.claims.tls_key, connection.key()?);
    if quoted != shown {
        return Err(Failure::refused(
            "wrong-tls-key",
            "the connection does not end in the box that quoted: somebody stands between",
        )
        .expected(quoted)
        .found(shown)
        .next("find out who answers at this address; do not go on"));
    }
    connection.set_trust(Trust::Key(quoted));
    Ok((request, attested))
}

/// Verifies a request that is at hand.
///
/// # Errors
/// Why it does not hold.
pub fn verify_with(
    request: &Request,
    nonce: &[u8; 32],
    terms: Terms<'_>,
) -> Result<Attested, Failure> {
    let Terms { anchors, images, host } = terms;
    Ok(verify::request(request, &Expected { nonce, anchors, images, host })?)
}

/// Challenges the AK: a secret that only the TPM with this EK gives up, and only to this AK; the answer
/// comes in a second verified request.
///
/// # Errors
/// [`Code::ChallengeFailed`]; or the second request does not hold.
pub fn challenge(
    connection: &mut Connection,
    first: &Attested,
    terms: Terms<'_>,
) -> Result<Attested, Failure> {
    let secret = Zeroizing::new(random()?);
    let mut drawn = Ok(());
    let made = credential::make(&first.ek, first.ak.name(), &secret, &mut |bytes| {
        if let Err(error) = getrandom::fill(bytes) {
            // A constant key ends the loop; the error is returned below and nothing is sent.
            bytes.fill(1);
            drawn = Err(error);
        }
    });
    drawn.map_err(no_randomness)?;
    let made = made.map_err(|error| Failure::from(Code::EndorsementKey).found(error))?;
    let (request, second) = verified(connection, terms, Some(made))?;
    let expected = credential::answer(secret.as_ref(), &request.nonce);
    if request.credential_answer != Some(expected) || second.ak.name() != first.ak.name() {
        return Err(Failure::from(Code::ChallengeFailed).expected(expected).found(
            request.credential_answer.map_or_else(|| "no answer".to_owned(), |a| a.to_string()),
        ));
    }
    Ok(second)
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    Ok(bytes)
}

fn no_randomness(error: getrandom::Error) -> Failure {
    Failure::environment("randomness", error.to_string())
}

/// What people compare: the fingerprint of an EK, in groups.
#[must_use]
pub fn fingerprint(name: &casemate_formats::digest::Name) -> String {
    name.fingerprint().short()
}

/// A digest for a table, with its meaning when it is zero.
#[must_use]
pub fn or_none(digest: &Digest) -> String {
    if *digest == Digest::ZERO { "none".to_owned() } else { digest.to_string() }
}
