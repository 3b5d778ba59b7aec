//! The people around a recovery: custodians who keep shares and seal them to a boot, and ops who carry
//! messages.

use anyhow::{Result, anyhow, ensure};
use casemate_appliance::life::Taken;
use casemate_formats::{
    bundle::{Bundle, body::Next},
    genesis::Answer,
    share::{Message, Share, ShareFile, seal::Contents},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use zeroize::Zeroizing;

use crate::{
    life::{Boot, Rig, accept, acknowledged},
    site::Site,
};

/// The custodians' shares of one genesis answer, in share order.
pub struct Shares(Vec<Zeroizing<Vec<u8>>>);

impl Shares {
    /// Each custodian decrypts its own.
    ///
    /// # Errors
    /// A share does not open.
    pub fn of(site: &Site, answer: &Answer) -> Result<Self> {
        let open = site.custodians.iter().zip(&answer.shares).map(|(custodian, file)| {
            let file = ShareFile::decode(&custodian.decrypt(file)?)?;
            Ok(Zeroizing::new(file.share.expose_bytes().to_vec()))
        });
        Ok(Self(open.collect::<Result<_>>()?))
    }

    /// One custodian's, by position.
    ///
    /// # Panics
    /// There is no such custodian.
    #[must_use]
    pub fn share(&self, custodian: usize) -> Share {
        Share::from_bytes(&self.0[custodian]).expect("a share")
    }
}

/// What is sealed to this boot under `bundle`.
///
/// # Panics
/// The bundle has no root.
#[must_use]
pub fn message(boot: &Boot, bundle: &Bundle, contents: &Contents) -> Message {
    let identity = boot.tpm.identity();
    let mut rng = UnwrapErr(SysRng);
    Message::seal(boot.life.hpke_key(), &identity.ek, bundle, contents, &mut rng)
        .expect("a bundle with a root")
}

/// The envelope of a box that has this root.
#[must_use]
pub fn envelope(root: &[u8; 32], pending: Option<&[u8; 32]>) -> Contents {
    Contents::Root {
        root: Zeroizing::new(*root),
        pending: pending.map(|pending| Zeroizing::new(*pending)),
    }
}

/// The newest root of an open box.
///
/// # Panics
/// It is not open.
#[must_use]
pub fn root(boot: &Boot) -> [u8; 32] {
    *boot.life.chain().expect("an open box").newest().expose_bytes()
}

/// The next bundle: the same with a higher number.
#[must_use]
pub fn again(bundle: &Bundle) -> Bundle {
    let mut next = bundle.clone();
    next.site.seq += 1;
    next
}

/// The next bundle, which asks for the next root (or for the present one in other shares) as split 2:
/// any `threshold` of the same custodians.
#[must_use]
pub fn asking(bundle: &Bundle, root: bool, threshold: u8) -> Bundle {
    let mut next = again(bundle);
    let custodians = next.root.custodians.clone();
    next.root.next = Some(Next { root, custodians, threshold, split: 2 });
    next
}

/// The bundle after the one that asked, with everybody's acknowledgements of the answer.
///
/// # Errors
/// A share does not open.
pub fn named(site: &Site, asking: &Bundle, answer: &Answer) -> Result<Bundle> {
    let mut next = again(asking);
    let known = asking.root.established.as_ref();
    next.root.established = Some(acknowledged(site, answer, known)?);
    if let Some(asked) = next.root.next.take() {
        next.root.custodians = asked.custodians;
        (next.root.threshold, next.root.split) = (asked.threshold, asked.split);
    }
    Ok(next)
}

/// Two custodians bring their shares.
///
/// # Errors
/// The box refuses.
pub fn bring(boot: &mut Boot, bundle: &Bundle, kept: &Shares, who: [usize; 2]) -> Result<Taken> {
    let messages = who.map(|who| message(boot, bundle, &Contents::Share(kept.share(who))));
    let taken = boot.life.take(&messages).map_err(|refused| anyhow!("{}", refused.code))?;
    ensure!(taken.refused.is_empty(), "{:?}", taken.refused);
    Ok(taken)
}

/// As [`crate::life::establish`], with what the custodians keep.
///
/// # Errors
/// It refuses.
pub fn established(rig: &Rig, boot: &mut Boot) -> Result<(Bundle, Shares)> {
    let mut bundle = rig.bundle(1, boot);
    accept(rig, boot, &bundle)?;
    let answer = boot.life.genesis().map_err(|refused| anyhow!("{}", refused.code))?;
    bundle.site.seq = 2;
    bundle.root.established = Some(acknowledged(&rig.site, &answer, None)?);
    accept(rig, boot, &bundle)?;
    Ok((bundle, Shares::of(&rig.site, &answer)?))
}
