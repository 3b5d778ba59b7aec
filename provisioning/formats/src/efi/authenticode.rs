//! Authenticode: the hash of a PE image that the firmware checks and measures into PCR 4, and (on a
//! workstation) its signature. Microsoft's "Windows Authenticode Portable Executable Signature
//! Format" 1.0; UEFI 2.10, 32.2.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Offsets of the fields that hashing leaves out, and where the signature goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    checksum: Range<usize>,
    table_entry: Range<usize>,
    /// The attribute certificate table, if the image is signed.
    table: Option<Range<usize>>,
}

/// Why a file is not a PE image that Casemate hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Not a PE32+ (64-bit) image, or cut short.
    #[error("not a 64-bit PE image, or cut short")]
    NotPe,
    /// The certificate table is not the last thing in the file, or not aligned to eight bytes.
    #[error("the PE image's certificate table is not the last thing in the file")]
    Table,
    /// It is signed already.
    #[error("the PE image is already signed")]
    Signed,
    /// It is not signed.
    #[error("the PE image is not signed")]
    Unsigned,
    /// Its signature does not fit the certificate or the image.
    #[error("the PE image's signature does not fit the certificate")]
    Signature,
}

impl Layout {
    /// Finds the fields in a PE32+ image.
    ///
    /// # Errors
    /// [`PeError::NotPe`] and [`PeError::Table`].
    pub fn parse(pe: &[u8]) -> Result<Self, PeError> {
        let header = le32(pe, 0x3c).filter(|_| pe.starts_with(b"MZ")).ok_or(PeError::NotPe)?;
        let optional = header.checked_add(24).ok_or(PeError::NotPe)?;
        if pe.get(header..header + 4) != Some(b"PE\0\0")
            || pe.get(optional..optional + 2) != Some(&[0x0b, 0x02])
            || le32(pe, optional + 108).is_none_or(|directories| directories < 5)
        {
            return Err(PeError::NotPe);
        }
        let checksum = optional + 64..optional + 68;
        let table_entry = optional + 144..optional + 152;
        let start = le32(pe, table_entry.start).ok_or(PeError::NotPe)?;
        let length = le32(pe, table_entry.start + 4).ok_or(PeError::NotPe)?;
        let table = match (start, length) {
            (0, 0) => None,
            _ if start.is_multiple_of(8)
                && start >= table_entry.end
                && start.checked_add(length) == Some(pe.len()) =>
            {
                Some(start..pe.len())
            }
            _ => return Err(PeError::Table),
        };
        Ok(Self { checksum, table_entry, table })
    }
}

/// The image's Authenticode SHA-256: the same before and after signing, because the checksum, the
/// table's entry and the table are left out (an unsigned image counts as padded to eight bytes,
/// where the table will start).
///
/// # Errors
/// [`PeError::NotPe`] and [`PeError::Table`].
pub fn hash(pe: &[u8]) -> Result<Digest, PeError> {
    let layout = Layout::parse(pe)?;
    let end = layout.table.as_ref().map_or(pe.len(), |table| table.start);
    let mut hash = Sha256::new();
    hash.update(&pe[..layout.checksum.start]);
    hash.update(&pe[layout.checksum.end..layout.table_entry.start]);
    hash.update(&pe[layout.table_entry.end..end]);
    hash.update(vec![0; end.next_multiple_of(8) - end]);
    Ok(Digest(hash.finalize().into()))
}

/// Signs an unsigned image. Deterministic: no signing time, RSA with PKCS #1 v1.5.
///
/// # Errors
/// [`PeError`], or [`PeError::Signature`] when the key cannot sign.
#[cfg(feature = "sign")]
pub fn sign(pe: &[u8], signer: &crate::efi::signer::Signer) -> Result<Vec<u8>, PeError> {
    let layout = Layout::parse(pe)?;
    if layout.table.is_some() {
        return Err(PeError::Signed);
    }
    let signature = signer.sign_authenticode(&hash(pe)?).map_err(|_| PeError::Signature)?;
    let mut out = pe.to_vec();
    out.resize(pe.len().next_multiple_of(8), 0);
    let start = u32::try_from(out.len()).map_err(|_| PeError::NotPe)?;
    // WIN_CERTIFICATE: length without padding, revision 2.0, type PKCS_SIGNED_DATA.
    let length = u32::try_from(8 + signature.len()).map_err(|_| PeError::NotPe)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&0x0200_u16.to_le_bytes());
    out.extend_from_slice(&0x0002_u16.to_le_bytes());
    out.extend_from_slice(&signature);
    out.resize(out.len().next_multiple_of(8), 0);
    let table = u32::try_from(out.len()).map_err(|_| PeError::NotPe)? - start;
    out[layout.table_entry.start..][..4].copy_from_slice(&start.to_le_bytes());
    out[layout.table_entry.start + 4..][..4].copy_from_slice(&table.to_le_bytes());
    Ok(out)
}

/// Checks that the image carries exactly one signature, over exactly this image, by the holder of
/// `certificate` (DER); gives the Authenticode hash.
///
/// # Errors
/// [`PeError`].
#[cfg(feature = "sign")]
pub fn verify(pe: &[u8], certificate: &[u8]) -> Result<Digest, PeError> {
    let table = Layout::parse(pe)?.table.ok_or(PeError::Unsigned)?;
    let table = &pe[table];
    let length = le32(table, 0).filter(|l| l.next_multiple_of(8) == table.len());
    let signature = length.and_then(|l| table.get(8..l)).ok_or(PeError::Table)?;
    if table[4..8] != [0x00, 0x02, 0x02, 0x00] {
        return Err(PeError::Table);
    }
    let digest = hash(pe)?;
    crate::efi::signer::verify_authenticode(&digest, signature, certificate)
        .map_err(|_| PeError::Signature)?;
    Ok(digest)
}

fn le32(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}

#[cfg(test)]
mod tests;
