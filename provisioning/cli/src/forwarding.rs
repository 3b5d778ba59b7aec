//! Forward: a box that has the root gives it to one that has not, sealed to that boot. The giving box
//! verifies the other one itself; what is verified here is whom this workstation talks to.

use casemate_formats::{
    api::{Forward, Forwarded, Shares, SharesTaken},
    code::Code,
    request::verify::Known,
};

use crate::{
    attest::{self, Terms, or_none},
    output::Failure,
    reach::Listed,
};

/// What a forward came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The receiving box had the root already, and no pending one was to be brought.
    AlreadyOpen,
    /// It took it.
    Taken {
        /// Its phase now.
        phase: String,
        /// Whether a pending root came with it.
        pending: bool,
    },
}

/// Forwards from `giver` (reached as a client that may operate) to `taker`. `pending`: also when
/// `taker` is open, because a root that no bundle names yet is to reach it.
///
/// # Errors
/// Either box is not the listed one; they are under different bundles; the giver or the taker refuses,
/// by its code.
pub fn forward(giver: &mut Listed, taker: &mut Listed, pending: bool) -> Result<Outcome, Failure> {
    if giver.host.name == taker.host.name {
        return Err(Failure::from(Code::SameBox)
            .expected("two boxes")
            .found(format_args!("{} twice", giver.host.name)));
    }
    let anchors = taker.site.anchors()?;
    let images = taker.bundle.bundle().images.clone();
    let terms = Terms { anchors: &anchors, images: &images, host: Known::Listed(&taker.host) };
    let (request, attested) = attest::verified(&mut taker.connection, terms, None)?;
    if attested.claims.phase == "operational" && !pending {
        return Ok(Outcome::AlreadyOpen);
    }
    giver.trust()?;
    let name = &taker.host.name;
    let ask = Forward { host: name.to_string(), nonce: request.nonce, request };
    let Forwarded { message, pending } =
        giver.connection.post("/v1/forward", &ask).map_err(|failure| {
            if failure.code() == Code::WrongBundle.slug() {
                // Which of the two is behind is known from the quote alone.
                let wanted = giver.bundle.digest();
                let found = or_none(&attested.claims.bundle);
                return failure
                    .expected(format_args!("{} and {name} under bundle {wanted}", giver.host.name))
                    .found(format_args!("{name} under {found}"))
                    .next("`casemate bundle push`, then forward again");
            }
            failure
        })?;
    let taken: SharesTaken =
        taker.connection.post("/v1/shares", &Shares { messages: vec![message] })?;
    match taken.refused.first() {
        None => Ok(Outcome::Taken { phase: taken.phase, pending }),
        Some(refused) => Err(Code::from_slug(&refused.code).map_or_else(
            || Failure::refused(refused.code.as_str(), "the box does not take the root"),
            Failure::from,
        )),
    }
}
