//! SSH keys and signatures as text: lines of `id_ed25519.pub` and the armour of `ssh-keygen -Y sign`.
//! Workstation only; the firmware sees binary forms alone.

use base64::{
    Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD,
};

use crate::{
    bundle::sshsig::{PublicKey, SshError, Sshsig},
    digest::Digest,
};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Reads an armoured signature (PROTOCOL.sshsig) and gives its binary form.
///
/// # Errors
/// [`SshError::Malformed`].
pub fn dearmor(text: &str) -> Result<Vec<u8>, SshError> {
    let inner = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let encoded: String =
        inner.ok_or(SshError::Malformed)?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let blob = STANDARD.decode(encoded).map_err(|_| SshError::Malformed)?;
    Sshsig::parse(&blob)?;
    Ok(blob)
}

/// Reads one line of a public key file, `type base64 [comment]`, and gives the key's blob.
///
/// # Errors
/// No such line, or a key that may not sign bundles.
pub fn parse_public_key(line: &str) -> Result<Vec<u8>, SshError> {
    let mut words = line.split_ascii_whitespace();
    let (kind, encoded) = words.next().zip(words.next()).ok_or(SshError::Malformed)?;
    let blob = STANDARD.decode(encoded).map_err(|_| SshError::Malformed)?;
    let key = PublicKey::parse(&blob)?;
    if key.kind() == kind { Ok(blob) } else { Err(SshError::Malformed) }
}

/// One line of a public key file for a blob.
///
/// # Errors
/// A blob that is none of the keys that may sign.
pub fn format_public_key(blob: &[u8]) -> Result<String, SshError> {
    Ok(format!("{} {}", PublicKey::parse(blob)?.kind(), STANDARD.encode(blob)))
}

/// The fingerprint that `ssh-keygen -l` shows: `SHA256:` and unpadded base64.
#[must_use]
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::sha256(blob)))
}
