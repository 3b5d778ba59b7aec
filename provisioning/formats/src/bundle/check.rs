//! What a bundle must fulfil beyond its encoding: sizes, order, uniqueness, references between
//! tables, and a root section that agrees with itself. Asked by the decoder and by `bundle check`.

mod network;

use core::net::IpAddr;

pub(super) use self::network::network;
use crate::{
    bundle::{
        Bundle,
        body::{
            Client, Custodian, Established, Expected, Host, Keyring, Label, Prefix, Roles,
            RootSection, Service,
        },
        error::BodyError,
    },
    genesis, limits,
};

impl Bundle {
    /// Checks all that one bundle can say wrong by itself.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), BodyError> {
        site(self)?;
        images(self)?;
        hosts(&self.hosts, self.images.len())?;
        expected(&self.expected, &self.hosts)?;
        service(&self.service, self.root.established.as_ref().map_or(1, |root| root.generation))?;
        root(&self.root)?;
        holds(self.audit.collectors_required <= limits::COLLECTORS, "at most 8 collectors")
    }
}

fn site(bundle: &Bundle) -> Result<(), BodyError> {
    holds(bundle.site.seq >= 1, "a seq of at least 1")?;
    let logs = &bundle.site.acknowledged_logs;
    fits("acknowledged logs", limits::ACKNOWLEDGED_LOGS, logs.len())?;
    ascending("acknowledged logs", logs.iter())
}

fn images(bundle: &Bundle) -> Result<(), BodyError> {
    filled("images", bundle.images.len())?;
    distinct("images", bundle.images.iter().map(|image| image.pcr11))
}

fn hosts(hosts: &[Host], images: usize) -> Result<(), BodyError> {
    fits("hosts", limits::HOSTS, hosts.len())?;
    ascending("hosts", hosts.iter().map(|host| &host.name))?;
    distinct("endorsement keys", hosts.iter().map(|host| &host.ek))?;
    distinct("attestation keys", hosts.iter().map(|host| &host.ak))?;
    for host in hosts {
        filled("PCR 7 values of a host", host.pcr7.len())?;
        distinct("PCR 7 values of a host", host.pcr7.iter())?;
        let branches = images * host.pcr7.len();
        if branches > limits::BRANCHES {
            return Err(BodyError::TooManyBranches(branches));
        }
        ascending("boot applications of a host", host.boot_applications.iter())?;
        let share = host.budget_share.is_none_or(|share| (1..=1_000).contains(&share));
        holds(share, "a budget share of 1 to 1000 thousandths")?;
        network(&host.network)?;
    }
    Ok(())
}

fn expected(expected: &[Expected], hosts: &[Host]) -> Result<(), BodyError> {
    fits("expected boxes", limits::HOSTS, expected.len())?;
    ascending("expected boxes", expected.iter().map(|box_| &box_.name))?;
    distinct("hardware addresses of expected boxes", expected.iter().map(|box_| box_.network.mac))?;
    for box_ in expected {
        let named = box_.network.mac.is_some() && !box_.network.addresses.is_empty();
        holds(named, "a hardware address and an address of an expected box")?;
        let unlisted = hosts.iter().all(|host| host.name != box_.name);
        holds(unlisted, "expected boxes that are not listed as hosts")?;
        network(&box_.network)?;
    }
    Ok(())
}

fn prefix_length(prefix: &Prefix) -> Result<(), BodyError> {
    let most = if prefix.address.is_ipv4() { 32 } else { 128 };
    holds(prefix.length <= most, "a prefix length of its address family")
}

fn service(service: &Service, generation: u32) -> Result<(), BodyError> {
    holds(service.port != 0, "a port of 1 to 65535")?;
    fits("keyrings", limits::KEYRINGS, service.keyrings.len())?;
    ascending("keyrings", service.keyrings.iter().map(|keyring| &keyring.name))?;
    for keyring in &service.keyrings {
        check_keyring(keyring, generation)?;
    }
    fits("clients", limits::CLIENTS, service.clients.len())?;
    ascending("clients", service.clients.iter().map(|client| &client.name))?;
    distinct("client keys", service.clients.iter().flat_map(|client| &client.keys))?;
    for client in &service.clients {
        check_client(client, &service.keyrings)?;
    }
    Ok(())
}

fn check_keyring(keyring: &Keyring, generation: u32) -> Result<(), BodyError> {
    ascending("context names of a keyring", keyring.context.iter())?;
    let subject = keyring.subject.as_ref().is_none_or(|subject| keyring.context.contains(subject));
    if !subject {
        return Err(BodyError::Dangling("the subject of a keyring"));
    }
    filled("versions of a keyring", keyring.versions.len())?;
    fits("versions of a keyring", limits::VERSIONS, keyring.versions.len())?;
    let count = u32::try_from(keyring.versions.len()).unwrap_or(u32::MAX);
    let numbered = keyring.first_version >= 1 && keyring.first_version.checked_add(count).is_some();
    holds(numbered, "versions of a keyring that are numbered from 1")?;
    if keyring.versions.iter().all(|of| (1..=generation).contains(of)) {
        Ok(())
    } else {
        Err(BodyError::Dangling("the root generation of a keyring's version"))
    }
}

fn check_client(client: &Client, keyrings: &[Keyring]) -> Result<(), BodyError> {
    filled("keys of a client", client.keys.len())?;
    ascending("source prefixes of a client", client.from.iter())?;
    for prefix in &client.from {
        prefix_length(prefix)?;
        holds(network_of(prefix) == prefix.address, "source prefixes without host bits")?;
    }
    if !Roles::ON_SITE.contains(client.roles) {
        return Err(BodyError::ReservedRole("the site"));
    }
    ascending("grants of a client", client.grants.iter().map(|grant| &grant.keyring))?;
    for grant in &client.grants {
        if grant.roles.is_empty() || !Roles::ON_KEYRINGS.contains(grant.roles) {
            return Err(BodyError::ReservedRole("keyrings"));
        }
        if !named(keyrings, &grant.keyring) {
            return Err(BodyError::Dangling("the keyring of a grant"));
        }
    }
    Ok(())
}

/// Keyrings are in ascending order when this is asked.
fn named(keyrings: &[Keyring], name: &Label) -> bool {
    keyrings.binary_search_by(|keyring| keyring.name.cmp(name)).is_ok()
}

fn network_of(prefix: &Prefix) -> IpAddr {
    let length = u32::from(prefix.length);
    match prefix.address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            IpAddr::V4((four.to_bits() & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            IpAddr::V6((six.to_bits() & mask).into())
        }
    }
}

fn root(root: &RootSection) -> Result<(), BodyError> {
    split(&root.custodians, root.threshold, root.split)?;
    if let Some(next) = &root.next {
        split(&next.custodians, next.threshold, next.split)?;
        if next.split <= root.split {
            return Err(BodyError::Root("the next split's number is higher than the present one"));
        }
        if root.established.is_none() {
            return Err(BodyError::Root("a next root or split follows an established root"));
        }
    }
    root.established.as_ref().map_or(Ok(()), |known| established(known, root.custodians.len()))
}

fn split(custodians: &[Custodian], threshold: u8, number: u32) -> Result<(), BodyError> {
    filled("custodians", custodians.len())?;
    distinct("custodians", custodians.iter().map(|custodian| &custodian.name))?;
    distinct("recipients", custodians.iter().map(|custodian| &custodian.recipient))?;
    if threshold == 0 || usize::from(threshold) > custodians.len() {
        return Err(BodyError::Root("the threshold is 1 to the number of custodians"));
    }
    if number == 0 {
        return Err(BodyError::Root("splits are numbered from 1"));
    }
    Ok(())
}

fn established(root: &Established, custodians: usize) -> Result<(), BodyError> {
    let generations = usize::try_from(root.generation).unwrap_or(usize::MAX);
    if generations == 0 {
        return Err(BodyError::Root("generations are numbered from 1"));
    }
    fits("generations", limits::GENERATIONS, generations)?;
    if root.commitments.len() != custodians {
        return Err(BodyError::Root("one commitment for each custodian"));
    }
    if root.acks.len() != custodians {
        return Err(BodyError::MissingAck { expected: custodians, found: root.acks.len() });
    }
    distinct("acknowledgements", root.acks.iter())?;
    let acknowledged =
        root.acks.iter().zip(&root.commitments).all(|(ack, to)| genesis::commitment(ack) == *to);
    if !acknowledged {
        return Err(BodyError::WrongAck);
    }
    if root.authorities.len() != generations {
        return Err(BodyError::Root("one authority for each generation"));
    }
    if root.wrapped.len() != generations - 1 {
        return Err(BodyError::Root("one wrapped root for each generation but the newest"));
    }
    if !(1..=root.generation).contains(&root.serving) {
        return Err(BodyError::Root("the serving generation is one that exists"));
    }
    for authority in &root.authorities {
        filled("bytes of an authority", authority.len())?;
        fits("bytes of an authority", limits::CERTIFICATE_BYTES, authority.len())?;
    }
    for wrapped in &root.wrapped {
        filled("bytes of a wrapped root", wrapped.len())?;
        fits("bytes of a wrapped root", limits::WRAPPED_BYTES, wrapped.len())?;
    }
    Ok(())
}

fn holds(condition: bool, rule: &'static str) -> Result<(), BodyError> {
    if condition { Ok(()) } else { Err(BodyError::OutOfRange(rule)) }
}

fn filled(table: &'static str, found: usize) -> Result<(), BodyError> {
    if found == 0 { Err(BodyError::Empty(table)) } else { Ok(()) }
}

fn fits(table: &'static str, limit: usize, found: usize) -> Result<(), BodyError> {
    if found > limit { Err(BodyError::TooLarge { table, limit, found }) } else { Ok(()) }
}

fn ascending<T: Ord>(
    table: &'static str,
    entries: impl Iterator<Item = T>,
) -> Result<(), BodyError> {
    let mut last: Option<T> = None;
    for entry in entries {
        match last.as_ref().map(|last| last.cmp(&entry)) {
            None | Some(core::cmp::Ordering::Less) => last = Some(entry),
            Some(core::cmp::Ordering::Equal) => return Err(BodyError::Duplicate(table)),
            Some(core::cmp::Ordering::Greater) => return Err(BodyError::Unsorted(table)),
        }
    }
    Ok(())
}

/// For tables whose order means something.
fn distinct<T: Ord>(
    table: &'static str,
    entries: impl Iterator<Item = T>,
) -> Result<(), BodyError> {
    let mut sorted: Vec<T> = entries.collect();
    sorted.sort_unstable();
    let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if twice { Err(BodyError::Duplicate(table)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
