//! Who may do what: turns (client, operation, keyring, context) into a `Permit` or a refusal.
//! Precomputed once a bundle: every request asks it.

use core::net::IpAddr;

use casemate_formats::{
    bundle::{
        Bundle,
        body::{Keyring, Label, Prefix, Roles},
    },
    code::Code,
    digest::Digest,
    limits,
};

use crate::routes::Route;

mod decide;
mod source;

pub use decide::{Operation, Permit, Refusal};

/// What the owner of a keyring wants done when one of its canaries is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCanary {
    /// An alert.
    Alert,
}

/// A client of the bundle that a [`Policy`] was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(u16);

impl ClientId {
    /// Its position among the bundle's clients, for tables with an entry for each.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Clients, keyrings and grants of one bundle, laid out for looking up.
pub struct Policy {
    /// By ascending key; at most `CLIENTS * CLIENT_KEYS`.
    keys: Box<[(Digest, ClientId)]>,
    /// In the bundle's order.
    clients: Box<[Client]>,
    /// By ascending name, as in the bundle.
    keyrings: Box<[Keyring]>,
}

struct Client {
    name: Label,
    from: heapless::Vec<Prefix, { limits::CLIENT_PREFIXES }>,
    /// Roles of its own and on any keyring.
    roles: Roles,
    /// (keyring's position, roles on it), by ascending position.
    grants: Box<[(u8, Roles)]>,
}

impl Policy {
    /// Lays out a bundle's clients. A grant on a keyring that is not there grants nothing.
    #[must_use]
    pub fn new(bundle: &Bundle) -> Self {
        let keyrings: Box<[Keyring]> = bundle.service.keyrings.iter().cloned().collect();
        let clients: Box<[Client]> = bundle
            .service
            .clients
            .iter()
            .map(|client| {
                let granted = client.grants.iter().filter_map(|grant| {
                    let at = keyrings.binary_search_by(|k| k.name.cmp(&grant.keyring)).ok()?;
                    Some((u8::try_from(at).ok()?, grant.roles))
                });
                let mut grants: Vec<_> = granted.collect();
                grants.sort_unstable_by_key(|(at, _)| *at);
                let roles = grants.iter().fold(client.roles, |all, (_, roles)| all.union(*roles));
                Client {
                    name: client.name.clone(),
                    from: client.from.clone(),
                    roles,
                    grants: grants.into(),
                }
            })
            .collect();
        let listed = bundle.service.clients.iter().zip(0u16..);
        let mut keys: Vec<_> = listed
            .flat_map(|(client, id)| client.keys.iter().map(move |key| (*key, ClientId(id))))
            .collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        Self { keys: keys.into(), clients, keyrings }
    }

    /// The client with this key (SHA-256 of the certificate's SubjectPublicKeyInfo). Looked up on
    /// every request, so that a removal takes effect at once.
    #[must_use]
    pub fn client(&self, key: &Digest) -> Option<ClientId> {
        let at = self.keys.binary_search_by(|(listed, _)| listed.cmp(key)).ok()?;
        self.keys.get(at).map(|(_, client)| *client)
    }

    /// Its name, as the audit log shows it.
    #[must_use]
    pub fn name(&self, client: ClientId) -> Option<&Label> {
        Some(&self.of(client)?.name)
    }

    /// Its roles: its own, and those on any keyring.
    #[must_use]
    pub fn roles(&self, client: ClientId) -> Roles {
        self.of(client).map_or(Roles::default(), |client| client.roles)
    }

    /// Whether it may call from this address.
    #[must_use]
    pub fn admits(&self, client: ClientId, address: IpAddr) -> bool {
        self.of(client).is_some_and(|client| source::admits(&client.from, address))
    }

    /// Whether `client` (`None`: without a certificate) may call a route; what it does there is
    /// decided by [`Self::decide`].
    ///
    /// # Errors
    /// The code to answer.
    pub fn may_call(&self, route: &Route, client: Option<ClientId>) -> Result<(), Code> {
        let roles = client.map(|client| self.roles(client));
        match (route.open_to(roles), roles) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Code::NotPermitted),
            (false, None) => Err(Code::NoClientCertificate),
        }
    }

    /// The keyrings on which a client has roles, by ascending name.
    pub fn keyrings(&self, client: ClientId) -> impl Iterator<Item = (&Keyring, Roles)> {
        let grants = self.of(client).map_or(&[][..], |client| &client.grants);
        grants
            .iter()
            .filter(|(_, roles)| *roles != Roles::default())
            .filter_map(|(at, roles)| Some((self.keyrings.get(usize::from(*at))?, *roles)))
    }

    fn of(&self, client: ClientId) -> Option<&Client> {
        self.clients.get(client.index())
    }
}

#[cfg(test)]
mod tests;
