//! How much of anything fits: capacities that the firmware fixes at compile time and that the tools
//! check a bundle against before anybody signs it.

/// Images a bundle may list: the running one, the next, and two being retired.
pub const IMAGES: usize = 4;
/// PCR 7 values of one host: the current one and the one after a firmware update.
pub const PCR7_PER_HOST: usize = 2;
/// Images times PCR 7 values of a host: PolicyOR takes eight branches (TPM 2.0 Part 3, 23.6).
pub const BRANCHES: usize = 8;
/// Hosts of one site. The firmware keeps one table entry each.
pub const HOSTS: usize = 32;
/// Other boot applications that a host's firmware may measure before ours.
pub const BOOT_APPLICATIONS: usize = 4;
/// Addresses of one host.
pub const ADDRESSES: usize = 8;
/// Clients a bundle may list; each has a reserved part of the audit ring.
pub const CLIENTS: usize = 1_000;
/// Keys of one client: the current one and its successor.
pub const CLIENT_KEYS: usize = 2;
/// Source prefixes of one client.
pub const CLIENT_PREFIXES: usize = 8;
/// Keyrings of a site.
pub const KEYRINGS: usize = 64;
/// Live versions of one keyring.
pub const VERSIONS: usize = 1_000;
/// Context names of one keyring.
pub const CONTEXT_NAMES: usize = 8;
/// Bytes of a context name or value.
pub const CONTEXT_BYTES: usize = 256;
/// Bytes of a name: namespace, host, client, keyring, context field.
pub const NAME_BYTES: usize = 32;
/// Signers in the anchors, and signatures looked at on a bundle.
pub const SIGNERS: usize = 16;
/// Custodians of a root.
pub const CUSTODIANS: usize = 16;
/// Generations of the root that are still needed.
pub const GENERATIONS: usize = 32;
/// Bytes of an authority's certificate (DER); the template is about a third of that.
pub const CERTIFICATE_BYTES: usize = 1_024;
/// Bytes of an older root encrypted under its successor (32 secret bytes, nonce, tag, header).
pub const WRAPPED_BYTES: usize = 256;
/// Logs whose loss one bundle acknowledges: two of each host.
pub const ACKNOWLEDGED_LOGS: usize = 2 * HOSTS;
/// Collectors a block can wait for.
pub const COLLECTORS: u8 = 8;
/// Bytes of one SSH signature: the longest form (sk-ecdsa) takes about 300.
pub const SIGNATURE_BYTES: usize = 1_024;
/// Bytes of a bundle (body and signatures): a slot is 1 MiB and also holds blob and branches.
pub const BUNDLE_BYTES: usize = 768 * 1024;
/// Bytes of one plaintext.
pub const PLAINTEXT_BYTES: usize = 64 * 1024;
/// Items of a batch.
pub const BATCH_ITEMS: usize = 1_000;
/// How far the seal counter may lag behind a live slot's label (design, section 6).
pub const LABEL_STEP: u64 = 64;
