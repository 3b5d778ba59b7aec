//! Which box a command talks to, and the way to a trusted connection: by the site's authority where
//! the box has one, otherwise by a verified request against its host record.

use std::path::PathBuf;

use casemate_formats::{
    bundle::{
        Verified,
        body::{Host, Label},
        source::HostRecord,
    },
    request::verify::{Attested, Known},
};

use crate::{
    attest::{self, Terms},
    connection::{Connection, DEFAULT_PORT, Identity, Trust},
    output::Failure,
    site::Site,
};

/// Which box, of which site, as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub site: PathBuf,
    /// Name of the box in the site.
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// Where it is reached, instead of what its host record says.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub address: Option<String>,
    /// Certificate and key of a listed client: FILE.crt and FILE.key.
    #[arg(long, value_name = "FILE", env = "CASEMATE_CLIENT")]
    pub client: Option<PathBuf>,
}

/// A box that its site's newest signed bundle lists.
pub struct Listed {
    /// The site.
    pub site: Site,
    /// The newest signed bundle.
    pub bundle: Verified,
    /// Its record in that bundle.
    pub host: Host,
    /// The way to it; trusts nobody yet.
    pub connection: Connection,
}

impl Reach {
    /// Reads the site and prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// No such host, no signed bundle that lists it, no client identity.
    pub fn listed(&self) -> Result<Listed, Failure> {
        let site = Site::open(&self.site)?;
        let bundle = signed(&site)?;
        let identity = self.client.as_deref().map(Identity::read).transpose()?;
        listed(site, bundle, &self.host, self.address.as_deref(), identity)
    }
}

/// The newest signed bundle.
///
/// # Errors
/// There is none.
pub fn signed(site: &Site) -> Result<Verified, Failure> {
    site.newest_signed(None)?.ok_or_else(|| {
        Failure::refused("no-signed-bundle", "the site has no bundle with enough signatures")
            .next("`casemate bundle build`, then `casemate bundle sign` by enough signers")
    })
}

/// A host of the newest signed bundle.
///
/// # Errors
/// It is not listed there, or has no address.
pub fn listed(
    site: Site,
    bundle: Verified,
    name: &str,
    address: Option<&str>,
    identity: Option<Identity>,
) -> Result<Listed, Failure> {
    let (name, record) = site.host(name)?;
    let hosts = &bundle.bundle().hosts;
    let host = hosts.iter().find(|host| host.name == name).cloned().ok_or_else(|| {
        Failure::refused("host-not-in-bundle", format!("no signed bundle lists {name} yet"))
            .next("`casemate bundle build`, then `casemate bundle sign`")
    })?;
    let port = bundle.bundle().service.port;
    let address = match address {
        Some(address) => address.to_owned(),
        None => address_of(&name, &record)?,
    };
    let connection = Connection::new(&address, port, identity, Trust::Anyone)?;
    Ok(Listed { site, bundle, host, connection })
}

/// How this workstation reaches a host: `reach`, or its first address.
///
/// # Errors
/// The record names neither.
pub fn address_of(name: &Label, record: &HostRecord) -> Result<String, Failure> {
    let first = || record.network.addresses.first()?.split('/').next().map(ToOwned::to_owned);
    record.reach.clone().or_else(first).ok_or_else(|| {
        Failure::environment(
            "no-address",
            format!("hosts/{name}.toml does not say how {name} is reached"),
        )
        .expected("reach = \"HOST:PORT\", or an address under [network]")
        .next("add it, or give --address")
    })
}

impl Listed {
    /// Verifies the box by a request and trusts the key that it quotes.
    ///
    /// # Errors
    /// Why it is not the listed box, by name.
    pub fn attest(&mut self) -> Result<Attested, Failure> {
        let anchors = self.site.anchors()?;
        let terms = Terms {
            anchors: &anchors,
            images: &self.bundle.bundle().images,
            host: Known::Listed(&self.host),
        };
        attest::verified(&mut self.connection, terms, None).map(|(_, attested)| attested)
    }

    /// Trusts the box by the site's authority where it shows a certificate of it, otherwise by a
    /// request.
    ///
    /// # Errors
    /// As [`Self::attest`].
    pub fn trust(&mut self) -> Result<(), Failure> {
        let bundle = self.bundle.bundle();
        if let Some(root) = &bundle.root.established {
            let name = format!("{}.{}.casemate", self.host.name, bundle.site.namespace);
            let authorities = root.authorities.clone();
            self.connection.set_trust(Trust::Authority { authorities, name });
            match self.connection.key() {
                Ok(_) => return Ok(()),
                // Locked or not provisioned: only its quote vouches for it.
                Err(failure) if failure.code() == "wrong-authority" => {
                    self.connection.set_trust(Trust::Anyone);
                }
                Err(failure) => return Err(failure),
            }
        }
        self.attest().map(|_| ())
    }
}

/// A box at an address that no bundle lists yet.
///
/// # Errors
/// The address is not one.
pub fn stranger(address: &str) -> Result<Connection, Failure> {
    Connection::new(address, DEFAULT_PORT, None, Trust::Anyone)
}
