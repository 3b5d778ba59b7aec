//! The files that `casemate site init` writes for people: their comments teach what may stand there.

use std::fmt::Write as _;

/// `site.toml`.
#[must_use]
pub fn site(namespace: &str, threshold: u8, signers: &[String]) -> String {
    let mut text = format!(
        "\
# What this site's images are built from. It stands in every image and is measured with it: a change
# here means a new image on every box. Everything else stands in bundle.toml.
#
# namespace   names the site for ever: part of every key and of every audit record
# threshold   how many of the signers must sign a bundle. m signers together can list an image of theirs,
#             so they equal the root key: take at least 2 where there are 2 people
# signers     SSH public keys, one line each, as in ~/.ssh/id_ed25519.pub. Ed25519, ECDSA P-256, and
#             both on a FIDO token (ssh-keygen -t ed25519-sk), which then asks for a touch each time

namespace = {namespace:?}
threshold = {threshold}
signers = [
"
    );
    for signer in signers {
        let _ = writeln!(text, "    {:?},", signer.trim());
    }
    text.push_str("]\n");
    text
}

/// `bundle.toml`.
#[must_use]
pub fn bundle(issued: &str, port: u16, threshold: u8, custodians: &[(String, String)]) -> String {
    let mut text = format!(
        "\
# The bundle: everything that can be configured on the boxes, without any secret. After a change:
#
#   casemate bundle new      raises seq and sets issued
#   casemate bundle check    says what is wrong, and what to know
#   casemate bundle build    writes bundles/SEQ.bundle
#   casemate bundle sign     each signer; shows what changes before it signs
#   casemate bundle push     to the boxes
#
# Hosts stand in hosts/NAME.toml (casemate host add), images in images.toml (casemate bundle add-image).

seq = 1
issued = \"{issued}\"

[service]
# The one TCP port of every box.
port = {port}

# Keyrings: one for each group of columns that is used by the same clients. The name is part of every
# token. `context` lists the names that every value must be bound to (no more, no fewer); `subject` says
# which of them names the person. `versions` has the generation of the root for each version of the key:
# add one to rotate ([1] -> [1, 1]); the last one encrypts. `first_version` drops old ones.
#
# [[keyring]]
# name = \"pii\"
# context = [\"column\", \"user\"]
# subject = \"user\"
# versions = [1]

# Clients: who may call. `casemate client new NAME` makes a key and prints these lines. At most two keys
# at once, so that a client can be given a new one. `from` limits where it calls from.
#   roles                 monitor (status, metrics), audit (the log), operate (genesis, images)
#   keyrings.NAME         encrypt, decrypt, rewrap, index
#
# [[client]]
# name = \"rails\"
# keys = [\"<SHA-256 of its public key>\"]
# from = [\"10.0.0.0/24\"]
# roles = []
# keyrings.pii = [\"encrypt\", \"decrypt\"]

# The root key, split among custodians: `threshold` of them can bring it back, fewer learn nothing.
#   generation   raise by one, together with split, for a new root
#   split        raise by one to give new shares (other custodians, another threshold)
#   serving      generation whose CA the boxes serve; raise it once every client trusts the new one
[root]
threshold = {threshold}
generation = 1
split = 1
serving = 1
"
    );
    for (name, recipient) in custodians {
        let _ = write!(text, "\n[[root.custodian]]\nname = {name:?}\nrecipient = {recipient:?}\n");
    }
    text.push_str(
        "
# How many audit collectors must have a block before its space is used again. Without a collector the
# log would fill up and the boxes would stop answering; `overwrite = true` says that the oldest blocks
# may go unread.
[audit]
collectors_required = 0
overwrite = true

# Boxes without DHCP that are on their way: flashed with a signed bundle that names them here
# (`cargo image flash --bundle`), they come up under this address and can be added as hosts. The
# hardware address tells which box it is. Drop the entry once hosts/NAME.toml is there.
#
# [[expected]]
# name = \"beta\"
# network = { mac = \"52:54:00:12:34:56\", addresses = [\"10.0.0.8/24\"], gateways = [\"10.0.0.1\"] }
",
    );
    text
}

/// Head of `images.toml`.
pub const IMAGES: &str = "\
# Images that may unseal the root, oldest first, at most four. `casemate bundle add-image MANIFEST` adds
# one. Remove an old one as soon as no box runs it: it dies when the next bundle is accepted.
";

/// `.gitignore`.
pub const GITIGNORE: &str = "# Private keys: never tracked.\n/private/\n*.key\n";

/// `README.md` of the directory.
pub const README: &str = "\
# A Casemate site

This directory is made for git. It describes the site's boxes completely and holds no secret: everything
but `private/`, which `.gitignore` keeps out.

* `site.toml`: signers of bundles; `anchors` is made of it and built into every image.
* `bundle.toml`, `images.toml`, `hosts/`: what the next bundle says. `bundles/`: what was signed.
* `genesis/`, `acks/`: what boxes answered and custodians acknowledged. Public.
* `secure-boot/`: certificates and signed variables of the site's Secure Boot keys.
* `private/`: their private halves. **Move them off this machine**: db.key signs images (offline machine
  or token; whoever has it and hands on a box can run code there), KEK.key and PK.key are needed only to
  change db or KEK (a safe). Use none of them for anything but Casemate.

The tool says what to do next: `casemate bundle check`.
";
