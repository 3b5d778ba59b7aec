//! Genesis: makes the root that the bundle in force asks for, or splits the one in use anew, gives
//! each custodian a share, and has the TPM quote the answer. May be repeated until accepted.

use casemate_core::{
    phase::{Phase, Reason},
    root::{self, NONCE_BYTES, Root},
    x509::Authority,
};
use casemate_formats::{
    bundle::{
        Verified,
        body::{Asked, Label, Recipient},
    },
    code::Code,
    digest::{Digest, preimage},
    genesis::Answer,
    share::{Share, ShareFile, age, split},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Life, Pending, Refused};

/// Bytes of the machine's generator, and as many of the TPM's, that a root is made of.
const ENTROPY_BYTES: usize = 32;

impl Life {
    /// Makes or shares the root that the bundle in force asks for, and has it quoted. A new root is
    /// sealed as pending before anybody hears of it; asked again on the same boot, the same root is
    /// shared again.
    ///
    /// # Errors
    /// Why not.
    pub fn genesis(&mut self) -> Result<Answer, Refused> {
        self.require_whole()?;
        self.require_no_trial()?;
        self.require_calm()?;
        let verified = self.bundle().ok_or(Code::WrongPhase)?;
        match self.phase {
            Phase::Locked(Reason::NotListed) => return Err(Code::NotListed.into()),
            Phase::Locked(Reason::Retired) => return Err(Code::Retired.into()),
            _ => {}
        }
        let bundle = verified.bundle();
        let asked = bundle.root.asked().ok_or(Code::GenesisNotAsked)?;
        let former = bundle.root.established.is_some();
        if former && self.chain.is_none() {
            return Err(Refused::new(Code::RootNotHeld)
                .detail("the root in use has to be open to be split, or to be wrapped"));
        }
        let root = if asked.fresh {
            self.pending_root(&verified)?
        } else {
            let chain = self.chain.as_ref().ok_or(Code::RootNotHeld)?;
            chain.newest().expose_copy()
        };
        let namespace = &bundle.site.namespace;
        let fingerprint = root::fingerprint(&root, asked.generation, namespace);
        let shares = split::split(root.expose_bytes(), &asked)
            .map_err(|error| Refused::new(Code::Inconsistent).detail(error.to_string()))?;
        let commitments = shares.iter().map(Share::commitment).collect();
        let authority = Authority::new(&root::ca_seed(&root), namespace, asked.generation);
        let wrapped = match &self.chain {
            Some(chain) if asked.fresh => {
                let mut nonce = [0; NONCE_BYTES];
                fill(&mut nonce)?;
                let older = chain.newest();
                Some(root::wrap(older, &root, chain.generation(), namespace, nonce))
            }
            _ => None,
        };
        let mut answer = Answer {
            bundle: verified.digest(),
            generation: asked.generation,
            fingerprint,
            split: asked.split,
            commitments,
            authority: authority.certificate(),
            wrapped,
            shares: encrypt(shares, &asked, namespace, fingerprint)?,
            ak_public: self.tpm.identity().ak_public.clone(),
            pcrs: Vec::new(),
            attest: Vec::new(),
            signature: Vec::new(),
        };
        let quote = self.tpm.quote(&answer.extra_data())?;
        (answer.attest, answer.signature) = (quote.attest, quote.signature);
        answer.pcrs = quote.pcrs;
        Ok(answer)
    }

    /// The pending root of this boot: the one at hand, or a new one, sealed before it is used.
    fn pending_root(&mut self, verified: &std::sync::Arc<Verified>) -> Result<Root, Refused> {
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.authentic) {
            return Ok(pending.root.expose_copy());
        }
        let root = Root::from_random(self.random_root()?);
        let pending = Pending { root: root.expose_copy(), authentic: true };
        let before = self.pending.replace(pending);
        let host = self.host().cloned().ok_or(Code::NotListed)?;
        if let Err(refused) = self.keep(verified, &host) {
            self.pending = before;
            return Err(refused);
        }
        Ok(root)
    }

    /// Neither the TPM's generator nor the kernel's has to be right alone.
    fn random_root(&self) -> Result<Zeroizing<[u8; 32]>, Refused> {
        let of_tpm = self.tpm.random(ENTROPY_BYTES)?;
        let mut of_kernel = Zeroizing::new([0; ENTROPY_BYTES]);
        fill(of_kernel.as_mut())?;
        let mixed = preimage("root", &[&of_tpm, of_kernel.as_slice()]);
        Ok(Zeroizing::new(Sha256::digest(mixed.as_slice()).into()))
    }
}

/// Each share in a file of its own, to its custodian.
fn encrypt(
    shares: Vec<Share>,
    asked: &Asked<'_>,
    namespace: &Label,
    fingerprint: Digest,
) -> Result<Vec<Vec<u8>>, Refused> {
    let mut files = Vec::with_capacity(shares.len());
    for (share, custodian) in shares.into_iter().zip(asked.custodians) {
        let file = ShareFile {
            namespace: namespace.clone(),
            generation: asked.generation,
            split: asked.split,
            threshold: asked.threshold,
            fingerprint,
            share,
            anchors: Vec::new(),
            bundle: Vec::new(),
        };
        let Recipient::AgeX25519(recipient) = &custodian.recipient;
        let mut rng = UnwrapErr(SysRng);
        let file = age::encrypt(recipient, &file.expose_encoded(), &mut rng).map_err(|error| {
            Refused::new(Code::Inconsistent).detail(format!("{}: {error}", custodian.name))
        })?;
        files.push(file);
    }
    Ok(files)
}

fn fill(bytes: &mut [u8]) -> Result<(), Refused> {
    getrandom::fill(bytes).map_err(|_| Code::Internal.into())
}
