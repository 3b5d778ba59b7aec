//! Which of the roots at hand is the one that a bundle names, and whether the bundle is right about
//! it: fingerprint, chain, commitments, certificates.

use std::sync::Arc;

use casemate_core::{
    root::{self, Chain, Root, RootChain},
    x509::Authority,
};
use casemate_formats::{
    bundle::{
        Bundle,
        body::{Established, RootSection},
    },
    code::Code,
    share::split,
};

use super::{Life, Pending, Refused};

/// What is to be kept under a bundle.
#[derive(Default)]
pub(super) struct Held {
    /// The established root with everything before it.
    pub(super) chain: Option<Arc<Chain>>,
    /// A root that the bundle does not name yet.
    pub(super) pending: Option<Pending>,
}

/// Whether `root` is the newest one of `established`.
pub(super) fn is_newest(root: &Root, established: &Established, bundle: &Bundle) -> bool {
    root::fingerprint(root, established.generation, &bundle.site.namespace)
        == established.fingerprint
}

/// Opens the chain from whichever of the two the bundle names; `None`: neither is it. A pending root
/// stays only while the bundle's newest generation is still the one before it (`generation`: the
/// newest one that `root` is).
pub(super) fn choose(
    root: Option<Root>,
    pending: Option<Pending>,
    generation: u32,
    bundle: &Bundle,
) -> Option<Result<Held, RootChain>> {
    let Some(established) = &bundle.root.established else {
        return Some(Ok(Held { chain: None, pending }));
    };
    let namespace = &bundle.site.namespace;
    let open = |newest| Chain::open(newest, established, namespace).map(Arc::new);
    if let Some(root) = root.filter(|root| is_newest(root, established, bundle)) {
        let pending = pending.filter(|_| established.generation == generation);
        return Some(open(root).map(|chain| Held { chain: Some(chain), pending }));
    }
    let promoted = pending.filter(|pending| is_newest(&pending.root, established, bundle))?;
    Some(open(promoted.root).map(|chain| Held { chain: Some(chain), pending: None }))
}

/// What a bundle says about a root that is at hand must be what follows from the root: the shares'
/// commitments are computed again, so a mix of two splits is refused, and so is a CA certificate that
/// nobody could serve under.
pub(super) fn check(section: &RootSection, chain: &Chain, bundle: &Bundle) -> Result<(), Refused> {
    let Some((established, asked)) = section.established.as_ref().zip(section.established_split())
    else {
        return Ok(());
    };
    let shares = split::split(chain.newest().expose_bytes(), &asked)
        .map_err(|error| Refused::new(Code::Inconsistent).detail(error.to_string()))?;
    let computed = shares.iter().map(split::Share::commitment);
    if !computed.eq(established.commitments.iter().copied()) {
        return Err(Code::WrongCommitment.into());
    }
    for (generation, certificate) in (1..=established.generation).zip(&established.authorities) {
        let seed = chain.ca_seed(generation).ok_or(Code::RootChain)?;
        let authority = Authority::new(&seed, &bundle.site.namespace, generation);
        if authority.certificate() != *certificate {
            return Err(Refused::new(Code::WrongAuthority)
                .detail(format!("the certificate of generation {generation}")));
        }
    }
    Ok(())
}

impl Life {
    /// What is at hand, as far as `bundle` goes on naming it.
    ///
    /// # Errors
    /// The bundle is wrong about a root at hand, leaves one out, or names one that is not at hand
    /// while this box is open.
    pub(super) fn hold(&self, bundle: &Bundle) -> Result<Held, Refused> {
        let before = self.in_force().and_then(|entry| entry.bundle().root.established.as_ref());
        let named = bundle.root.established.as_ref();
        match (before, named) {
            (Some(_), None) => return Err(Code::RootDropped.into()),
            (Some(before), Some(named))
                if named.generation < before.generation
                    || (named.generation == before.generation
                        && named.fingerprint != before.fingerprint) =>
            {
                return Err(Code::RootDropped.into());
            }
            _ => {}
        }
        let root = self.chain.as_ref().map(|chain| chain.newest().expose_copy());
        let generation = self.chain.as_ref().map_or(0, |chain| chain.generation());
        let pending = self.pending.as_ref().map(|pending| Pending {
            root: pending.root.expose_copy(),
            authentic: pending.authentic,
        });
        let held = match choose(root, pending, generation, bundle) {
            Some(Ok(held)) => held,
            Some(Err(error)) => {
                return Err(Refused::new(Code::RootChain).detail(error.to_string()));
            }
            None if self.chain.is_some() => return Err(Code::RootNotHeld.into()),
            // A closed box takes the bundle; its root comes from elsewhere.
            None => Held::default(),
        };
        if let Some(chain) = &held.chain {
            check(&bundle.root, chain, bundle)?;
        }
        Ok(held)
    }
}
