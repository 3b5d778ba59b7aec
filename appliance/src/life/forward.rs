//! Giving the root out: to a box of the same bundle that has proven what it runs, and to no other.

use casemate_formats::{
    api::{Forward, Forwarded},
    bundle::body::{Host, Label},
    code::Code,
    request::verify::{self, Expected, Known},
    share::{Message, seal::Contents},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use zeroize::Zeroizing;

use super::{Life, Refused};

impl Life {
    /// Verifies another box's request under the bundle in force and seals the root to that boot, with
    /// the pending one where there is one. The nonce need not be fresh: what is sealed opens with a key
    /// that the quoted boot made and that ends with it.
    ///
    /// # Errors
    /// This box is not open; the other one is this box, not listed, retired, under another bundle, or
    /// does not pass: by the name of the check.
    pub fn forward(&self, asked: &Forward) -> Result<(Forwarded, Label), Refused> {
        let verified = self.bundle().ok_or(Code::WrongPhase)?;
        let chain = self.chain.as_ref().ok_or(Code::WrongPhase)?;
        let bundle = verified.bundle();
        let host = Label::parse(&asked.host)
            .and_then(|name| bundle.hosts.iter().find(|host| host.name == name))
            .ok_or_else(|| {
                Refused::new(Code::NotListed).detail("no host of this name is listed")
            })?;
        self.may_have_it(host)?;
        let expected = Expected {
            nonce: &asked.nonce,
            anchors: &self.anchors,
            images: &bundle.images,
            host: Known::Listed(host),
        };
        // What was found is the caller's, and stays out of the answer.
        let attested = verify::request(&asked.request, &expected).map_err(|refusal| {
            Refused::new(refusal.code).detail(format!("expected {}", refusal.expected))
        })?;
        if attested.claims.bundle != verified.digest() {
            let detail = format!("expected a box under bundle {}", verified.digest());
            return Err(Refused::new(Code::WrongBundle).detail(detail));
        }
        let secret = |root: &casemate_core::root::Root| Zeroizing::new(*root.expose_bytes());
        let pending = self.pending.as_ref().map(|pending| secret(&pending.root));
        let carries_pending = pending.is_some();
        let contents = Contents::Root { root: secret(chain.newest()), pending };
        let boot = attested.claims.hpke_key;
        let message = Message::seal(boot, &host.ek, bundle, &contents, &mut UnwrapErr(SysRng))
            .map_err(|error| Refused::new(Code::QuoteContent).detail(error.to_string()))?;
        Ok((Forwarded { message, pending: carries_pending }, host.name.clone()))
    }

    fn may_have_it(&self, host: &Host) -> Result<(), Refused> {
        if host.ek == self.tpm.identity().ek {
            return Err(Code::SameBox.into());
        }
        if host.retired {
            return Err(Code::Retired.into());
        }
        Ok(())
    }
}
