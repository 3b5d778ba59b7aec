//! A box seen through its port, as operators and clients see it: asked, listed, provisioned, called.
//! Serves a box without PID 1 and a machine in QEMU alike.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use casemate_formats::{
    api::{Accepted, Forward, Shares},
    bundle::{
        Bundle,
        body::{Established, Host as HostRecord, Image},
    },
    genesis,
    request::{
        Ask, Request,
        verify::{self, Attested, Expected, Fingerprint, Known},
    },
    share::{Message, ShareFile, seal::Contents},
};
use getrandom::{SysRng, rand_core::UnwrapErr};

use crate::{
    client::{Answer, Client, Trust},
    site::{self, Site},
};

/// One box of a throwaway site.
pub struct Remote {
    /// Its people.
    pub site: Arc<Site>,
    /// Its name in the bundle.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it runs.
    pub image: Image,
    /// EK fingerprint, as its console shows it.
    pub ek: String,
    /// The bundle in force, where there is one.
    pub bundle: Option<Bundle>,
}

impl Remote {
    /// A client of this name.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn client(&self, name: &str) -> Result<Client> {
        Client::new(self.address, &self.trust(), Some(self.site.client(name)))
    }

    /// A client of this name that believes whoever answers: a box without its root has no
    /// certificate of the authority.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn believer(&self, name: &str) -> Result<Client> {
        Client::new(self.address, &Trust::Anyone, Some(self.site.client(name)))
    }

    /// A client whose key no bundle lists.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn stranger(&self) -> Result<Client> {
        Client::new(self.address, &self.trust(), Some(&self.site.stranger))
    }

    /// A client without a certificate.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn nobody(&self) -> Result<Client> {
        Client::new(self.address, &self.trust(), None)
    }

    /// Whom its clients believe: the site's authority once there is one.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match self.authority() {
            Some(authority) => {
                Trust::Authority(authority.to_vec(), format!("{}.example.casemate", self.name))
            }
            None => Trust::Anyone,
        }
    }

    /// The authority's certificate, DER.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        let root = self.bundle.as_ref()?.root.established.as_ref()?;
        let serving = usize::try_from(root.serving).ok()?.checked_sub(1)?;
        root.authorities.get(serving).map(Vec::as_slice)
    }

    /// Asks for a request; nothing of it is verified.
    ///
    /// # Errors
    /// The box does not answer.
    pub fn request(&self) -> Result<Request> {
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| anyhow!("random bytes"))?;
        let ask = serde_json::to_vec(&Ask { nonce, credential: None })?;
        let nobody = Client::new(self.address, &Trust::Anyone, None)?;
        nobody.post("/v1/request", &ask)?.ok()
    }

    /// Asks for a request and verifies it, as `casemate host add` does for a new box and every other
    /// command for a listed one.
    ///
    /// # Errors
    /// The box does not answer, or does not pass.
    pub fn attest(&self) -> Result<Attested> {
        let request = self.request()?;
        let nonce = request.nonce;
        let fingerprint = Fingerprint::parse(&self.ek).context("a fingerprint")?;
        let listed = self
            .bundle
            .as_ref()
            .and_then(|bundle| bundle.hosts.iter().find(|host| host.name.as_str() == self.name));
        let known = match listed {
            Some(host) => Known::Listed(host),
            None => Known::New(&fingerprint),
        };
        let images = [self.image.clone()];
        let expected =
            Expected { nonce: &nonce, anchors: &self.site.anchors, images: &images, host: known };
        verify::request(&request, &expected).map_err(|refusal| anyhow!("{refusal:?}"))
    }

    /// The record that lists this box.
    ///
    /// # Errors
    /// See [`Self::attest`].
    pub fn record(&self) -> Result<HostRecord> {
        let attested = self.attest()?;
        let mut record = site::host(self.name, attested.identity(), attested.pcr7());
        record.boot_applications = attested.other_applications.iter().copied().collect();
        Ok(record)
    }

    /// Pushes an envelope.
    ///
    /// # Errors
    /// The box refuses it.
    pub fn push(&self, envelope: &[u8]) -> Result<Accepted> {
        let headers = [("Content-Type", "application/octet-stream")];
        // A closed box has no certificate of the authority; a bundle needs none.
        let mut connection = Client::new(self.address, &Trust::Anyone, None)?.connect()?;
        connection.send("POST", "/v1/bundle", &headers, Some(envelope))?.ok()
    }

    /// Signs and pushes a bundle, which is then the one in force.
    ///
    /// # Errors
    /// The box refuses it.
    pub fn accept(&mut self, bundle: Bundle) -> Result<Accepted> {
        let accepted = self.push(&self.site.sign(&bundle)?)?;
        self.bundle = Some(bundle);
        Ok(accepted)
    }

    /// Unprovisioned to Locked.
    ///
    /// # Errors
    /// See [`Self::attest`].
    pub fn list(&mut self, change: Option<crate::host::Change>) -> Result<()> {
        let mut bundle = self.site.bundle(1, vec![self.record()?]);
        bundle.images = [self.image.clone()].into_iter().collect();
        if let Some(change) = change {
            change(&mut bundle);
        }
        self.accept(bundle)?;
        Ok(())
    }

    /// Genesis; its answer, verified.
    ///
    /// # Errors
    /// The box refuses, or its answer does not pass.
    pub fn genesis_answer(&self) -> Result<genesis::Answer> {
        let bundle = self.bundle.as_ref().context("a bundle")?;
        let answer = self.client("operate")?.post("/v1/genesis", b"{}")?;
        let answer: genesis::Answer = answer.ok()?;
        verify::genesis(&answer, bundle, &bundle.digest())
            .map_err(|refusal| anyhow!("{refusal:?}"))?;
        Ok(answer)
    }

    /// What is sealed to the boot of now, once its request was verified, under the bundle in force.
    ///
    /// # Errors
    /// The box does not pass, or has no bundle with a root.
    pub fn seal(&self, contents: &Contents) -> Result<Message> {
        let attested = self.attest()?;
        let bundle = self.bundle.as_ref().context("a bundle")?;
        let boot = attested.claims.hpke_key;
        Ok(Message::seal(boot, attested.ek.name(), bundle, contents, &mut UnwrapErr(SysRng))?)
    }

    /// Brings shares or an envelope.
    ///
    /// # Errors
    /// The network's.
    pub fn bring(&self, messages: Vec<Message>) -> Result<Answer> {
        let body = serde_json::to_vec(&Shares { messages })?;
        Client::new(self.address, &Trust::Anyone, None)?.post("/v1/shares", &body)
    }

    /// Has this box seal the root to `to`, which answered `request`.
    ///
    /// # Errors
    /// The network's.
    pub fn forward(&self, to: &str, request: Request) -> Result<Answer> {
        let body = Forward { host: to.to_owned(), nonce: request.nonce, request };
        self.believer("operate")?.post("/v1/forward", &serde_json::to_vec(&body)?)
    }

    /// Genesis with every custodian's acknowledgement.
    ///
    /// # Errors
    /// The box refuses, or its answer does not pass.
    pub fn genesis(&self) -> Result<Established> {
        let answer = self.genesis_answer()?;
        let mut acks = heapless::Vec::new();
        let mut shares = Vec::new();
        for (custodian, file) in self.site.custodians.iter().zip(&answer.shares) {
            let share = ShareFile::decode(&custodian.decrypt(file)?)?;
            acks.push(share.share.ack()).map_err(|_| anyhow!("few custodians"))?;
            shares.push(share.share);
        }
        *self.site.shares.lock().unwrap_or_else(PoisonError::into_inner) = shares;
        ensure!(acks.len() == self.site.custodians.len(), "a share for each custodian");
        Ok(Established {
            generation: answer.generation,
            fingerprint: answer.fingerprint,
            commitments: answer.commitments.iter().copied().collect(),
            acks,
            authorities: vec![answer.authority],
            serving: answer.generation,
            wrapped: Vec::new(),
        })
    }

    /// Locked to Operational.
    ///
    /// # Errors
    /// See [`Self::genesis`].
    pub fn establish(&mut self) -> Result<()> {
        let mut bundle = self.bundle.clone().context("a bundle")?;
        bundle.site.seq += 1;
        bundle.root.established = Some(self.genesis()?);
        let accepted = self.accept(bundle)?;
        ensure!(accepted.outcome == "entered", "{accepted:?}");
        Ok(())
    }

    /// Writes authority, client certificates and keys as PEM files, for curl and others.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        for (name, identity) in &self.site.clients {
            identity.write(folder, name)?;
        }
        if let Some(authority) = self.authority() {
            let text = crate::identity::pem("CERTIFICATE", authority);
            std::fs::write(folder.join("authority.crt"), text)?;
        }
        Ok(())
    }
}
