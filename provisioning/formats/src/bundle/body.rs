//! What a bundle says: its types. Their one encoding is `wire`, what they must fulfil is `check`.

use core::net::IpAddr;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, digest::Name, limits};

/// A short name: `[a-z0-9-]`, 1 to 32 bytes, starting with a letter. Parsed, never trusted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Label(String<{ limits::NAME_BYTES }>);

impl Label {
    /// A name of `[a-z][a-z0-9-]*` within [`limits::NAME_BYTES`]; `None`: it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let first = text.bytes().next()?.is_ascii_lowercase();
        let rest = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        (first && rest).then(|| String::try_from(text).ok().map(Self)).flatten()
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for Label {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::<{ limits::NAME_BYTES }>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("expected a name: [a-z][a-z0-9-]*, 1 to 32 bytes")
        })
    }
}

/// All that a bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Section 1: which site, which number.
    pub site: Site,
    /// Section 2: images that may run, newest last.
    pub images: Vec<Image, { limits::IMAGES }>,
    /// Section 3: the site's boxes, by ascending name.
    pub hosts: std::vec::Vec<Host>,
    /// Section 4: port, keyrings, clients.
    pub service: Service,
    /// Section 5: custodians and, once it exists, the root.
    pub root: RootSection,
    /// Section 6: audit collectors and what happens without one.
    pub audit: Audit,
    /// Section 7, left out where there is none: boxes that are on their way, by ascending name.
    pub expected: std::vec::Vec<Expected>,
}

/// Section 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The site's namespace; equals the anchors'.
    pub namespace: Label,
    /// Number of this bundle; only a higher one replaces it.
    pub seq: u64,
    /// When it was built, Unix seconds: a floor for the clock.
    pub issued: u64,
    /// Logs (origin host and log id) whose loss or rollback the signers acknowledge.
    pub acknowledged_logs: std::vec::Vec<(Label, Digest)>,
}

/// Section 2: an image that may unseal the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// PCR 11 (SHA-256) after `enter-casemate`.
    pub pcr11: Digest,
    /// SHA-256 of the whole 64 MiB ESP that holds it.
    pub esp: Digest,
    /// Authenticode SHA-256 of the signed UKI: what PCR 4 measures.
    pub authenticode: Digest,
}

/// Section 3: one box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name within the site.
    pub name: Label,
    /// Name of its endorsement key, the salt of every session.
    pub ek: Name,
    /// Which template that key was made from.
    pub ek_template: EkTemplate,
    /// Name of its attestation key.
    pub ak: Name,
    /// PCR 7 values it may boot with.
    pub pcr7: Vec<Digest, { limits::PCR7_PER_HOST }>,
    /// Hashes of other applications its firmware measures into PCR 4 (a shell it then refuses).
    pub boot_applications: Vec<Digest, { limits::BOOT_APPLICATIONS }>,
    /// Its addresses.
    pub network: Network,
    /// Its share of each budget, in thousandths of the total; `None`: total / max(1, hosts - 1).
    pub budget_share: Option<u16>,
    /// Whether the root is sealed here; otherwise every boot needs Forward or k shares.
    pub sealed: bool,
    /// Whether it is to destroy what it holds.
    pub retired: bool,
}

/// How the endorsement key is made (TCG EK Credential Profile 2.5, annex B).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EkTemplate {
    /// L-2: ECC P-256, policy A.
    P256,
    /// H-3: ECC P-384, policy B.
    P384,
}

/// Where a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// MAC address of the interface; `None`: the first that has a carrier.
    pub mac: Option<[u8; 6]>,
    /// VLAN id on that interface.
    pub vlan: Option<u16>,
    /// Static addresses with their prefix lengths; none: DHCP (IPv4).
    pub addresses: Vec<Prefix, { limits::ADDRESSES }>,
    /// Default routes, at most one for each family.
    pub gateways: Vec<IpAddr, 2>,
}

/// Section 7: a box that no host record lists yet, because nobody has verified its TPM. It gets its
/// first address from a bundle that was written on its disk, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The name that it shall have.
    pub name: Label,
    /// Its network; the hardware address tells which box it is.
    pub network: Network,
}

/// An address with a prefix length, `10.0.0.7/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Leading bits of the network.
    pub length: u8,
}

/// Section 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// TCP port, the only one.
    pub port: u16,
    /// Keyrings by ascending name.
    pub keyrings: std::vec::Vec<Keyring>,
    /// Clients by ascending name.
    pub clients: std::vec::Vec<Client>,
}

/// One keyring: a column's, or a group of columns', keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    /// Its name, part of every token.
    pub name: Label,
    /// Names that every context must have, ascending; exactly these.
    pub context: Vec<Label, { limits::CONTEXT_NAMES }>,
    /// Which of them names the subject, if one does.
    pub subject: Option<Label>,
    /// Root generation of each version: version v is `versions[v - first_version]`.
    pub versions: std::vec::Vec<u32>,
    /// Number of the first version that still decrypts, at least 1.
    pub first_version: u32,
}

/// Who may call, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name, as the audit log shows it.
    pub name: Label,
    /// SHA-256 of the SubjectPublicKeyInfo of its keys.
    pub keys: Vec<Digest, { limits::CLIENT_KEYS }>,
    /// Source prefixes it must come from; none: any.
    pub from: Vec<Prefix, { limits::CLIENT_PREFIXES }>,
    /// Roles that concern no keyring: monitor, audit, operate.
    pub roles: Roles,
    /// Roles on keyrings, by ascending keyring.
    pub grants: std::vec::Vec<Grant>,
}

/// Roles of one client on one keyring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The keyring.
    pub keyring: Label,
    /// encrypt, decrypt, rewrap, index.
    pub roles: Roles,
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Roles(pub u16);

impl Roles {
    /// May encrypt.
    pub const ENCRYPT: Self = Self(1);
    /// May decrypt.
    pub const DECRYPT: Self = Self(2);
    /// May have tokens encrypted anew, seeing no plaintext.
    pub const REWRAP: Self = Self(4);
    /// May compute blind indexes.
    pub const INDEX: Self = Self(8);
    /// May read status and metrics.
    pub const MONITOR: Self = Self(16);
    /// May read the audit log.
    pub const AUDIT: Self = Self(32);
    /// May run provisioning routes that need an authenticated client.
    pub const OPERATE: Self = Self(64);
    /// Every bit that has a meaning.
    pub const ALL: Self = Self(127);
    /// Roles that a client has on a keyring.
    pub const ON_KEYRINGS: Self = Self(15);
    /// Roles that concern no keyring.
    pub const ON_SITE: Self = Self(112);

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Every role by its name, in the order of bits.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("encrypt", Self::ENCRYPT),
        ("decrypt", Self::DECRYPT),
        ("rewrap", Self::REWRAP),
        ("index", Self::INDEX),
        ("monitor", Self::MONITOR),
        ("audit", Self::AUDIT),
        ("operate", Self::OPERATE),
    ];

    /// Names of the roles in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(_, role)| self.contains(*role)).map(|(name, _)| name)
    }

    /// Whether no role is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Section 5: who keeps shares, and what there is to share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSection {
    /// Who holds a share of the established root, or shall hold one of the first, in share order
    /// (share x-coordinate = position + 1).
    pub custodians: Vec<Custodian, { limits::CUSTODIANS }>,
    /// How many of them open the root.
    pub threshold: u8,
    /// Number of this split, from 1.
    pub split: u32,
    /// What genesis shall make while the established root stays.
    pub next: Option<Next>,
    /// The root, once it exists.
    pub established: Option<Established>,
}

/// A root or a split that genesis shall make beside the established one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// `true`: make the root of the next generation. `false`: split the established one anew.
    pub root: bool,
    /// Who shall hold its shares.
    pub custodians: Vec<Custodian, { limits::CUSTODIANS }>,
    /// How many of them open it.
    pub threshold: u8,
    /// Number of the split, higher than the established one's.
    pub split: u32,
}

/// What `POST /v1/genesis` is to make under a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Generation of the root to share.
    pub generation: u32,
    /// Whether that root is made now (otherwise the established one is split anew).
    pub fresh: bool,
    /// Who shall hold a share.
    pub custodians: &'a [Custodian],
    /// How many of them open the root.
    pub threshold: u8,
    /// Number of the split.
    pub split: u32,
}

impl RootSection {
    /// What genesis shall make; `None`: this bundle asks for nothing.
    #[must_use]
    pub fn asked(&self) -> Option<Asked<'_>> {
        match (&self.established, &self.next) {
            (None, _) => Some(Asked {
                generation: 1,
                fresh: true,
                custodians: &self.custodians,
                threshold: self.threshold,
                split: self.split,
            }),
            (Some(_), None) => None,
            (Some(root), Some(next)) => Some(Asked {
                generation: root.generation.saturating_add(u32::from(next.root)),
                fresh: next.root,
                custodians: &next.custodians,
                threshold: next.threshold,
                split: next.split,
            }),
        }
    }
}

/// A custodian: a name and a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custodian {
    /// For people.
    pub name: Label,
    /// Whom the share is encrypted to.
    pub recipient: Recipient,
}

/// A recipient: kind and bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Recipient {
    /// age X25519 (C2SP age): the 32 bytes behind `age1…`.
    AgeX25519([u8; 32]),
}

/// The root a site has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Established {
    /// Its number, from 1.
    pub generation: u32,
    /// Tagged hash of it: proves that what was opened is it.
    pub fingerprint: Digest,
    /// One for each custodian, in order: [`crate::genesis::commitment`] of the ack.
    pub commitments: Vec<Digest, { limits::CUSTODIANS }>,
    /// One for each custodian, in order: [`crate::genesis::ack`] of the share.
    pub acks: Vec<Digest, { limits::CUSTODIANS }>,
    /// CA certificate (DER) of each generation, first generation first.
    pub authorities: std::vec::Vec<std::vec::Vec<u8>>,
    /// Which generation's CA serves.
    pub serving: u32,
    /// Each older root encrypted under its successor, first generation first (generation - 1 of them).
    pub wrapped: std::vec::Vec<std::vec::Vec<u8>>,
}

/// Section 6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// How many collectors must have a block before its space is free.
    pub collectors_required: u8,
    /// With no collector: the oldest blocks are overwritten.
    pub overwrite: bool,
}
