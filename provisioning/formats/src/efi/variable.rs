//! The site's Secure Boot variables as signed updates (UEFI 2.10, 8.2.2 and 32.4.1): built and signed
//! on a workstation, kept in the anchors, written by PID 1 to a machine in set-up mode.

use std::vec::Vec;

use crate::efi::Guid;

/// Owner of every entry that Casemate enrols (SignatureOwner in the signature list; PCR 7's
/// authority event starts with it).
pub const OWNER: Guid =
    Guid::new(0x3c1f_0b52, 0x5d0f, 0x4f6e, [0x9a, 0x37, 0xca, 0x5e, 0x3a, 0x7e, 0x00, 0x01]);

/// NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS | TIME_BASED_AUTHENTICATED_WRITE_ACCESS: what
/// the three variables are written with, and what their signature covers.
pub const ATTRIBUTES: u32 = 0x27;

/// EFI_GLOBAL_VARIABLE.
pub const GLOBAL: Guid =
    Guid::new(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// EFI_IMAGE_SECURITY_DATABASE_GUID.
pub const IMAGE_SECURITY: Guid =
    Guid::new(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);

const CERT_X509: Guid =
    Guid::new(0xa5c0_59a1, 0x94e4, 0x4aa7, [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
const CERT_PKCS7: Guid =
    Guid::new(0x4aaf_d29d, 0x68df, 0x49ee, [0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7]);

const TIME_BYTES: usize = 16;
/// WIN_CERTIFICATE_UEFI_GUID before its data: length, revision, type, GUID.
const CERTIFICATE_HEADER: usize = 24;
/// EFI_SIGNATURE_LIST before its entries: type, list size, header size, entry size.
const LIST_HEADER: usize = 28;

/// One of the three variables, in the order in which they are written: PK last, because it ends
/// set-up mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// Signature database: whose images run.
    Db,
    /// Key exchange keys: who may change db.
    Kek,
    /// Platform key: who may change KEK.
    Pk,
}

impl Variable {
    /// In the order of writing.
    pub const ALL: [Self; 3] = [Self::Db, Self::Kek, Self::Pk];

    /// `db`, `KEK`, `PK`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Kek => "KEK",
            Self::Pk => "PK",
        }
    }

    /// The vendor GUID that the name is looked up under.
    #[must_use]
    pub fn vendor(self) -> Guid {
        match self {
            Self::Db => IMAGE_SECURITY,
            Self::Kek | Self::Pk => GLOBAL,
        }
    }

    /// Its file name in efivarfs, `PK-8be4df61-…`.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{}-{}", self.name(), self.vendor())
    }
}

/// A signed update taken apart: EFI_VARIABLE_AUTHENTICATION_2 and the signature list behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    time: &'a [u8; TIME_BYTES],
    /// Bare SignedData, DER (no ContentInfo: firmware refuses it with one).
    pub signature: &'a [u8],
    /// The variable's new content: EFI_SIGNATURE_LIST structures.
    pub list: &'a [u8],
}

/// Why bytes are not a signed update or a signature list of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// They end too early, or a length in them points outside.
    #[error("the variable update is cut short or its lengths are wrong")]
    Length,
    /// The authentication is not PKCS #7, revision 2.0.
    #[error("the variable update is not signed in the PKCS #7 form of UEFI 2.10")]
    Form,
    /// A list holds something that is not an X.509 certificate.
    #[error("the signature list holds an entry which is not an X.509 certificate")]
    NotCertificate,
    /// The signature does not fit the content, the time, the name or the signer.
    #[error("the signature of the variable update does not fit the signer's certificate")]
    Signature,
}

impl<'a> Update<'a> {
    /// Takes an update apart, and checks its form; not its signature ([`verify`] does).
    ///
    /// # Errors
    /// [`VariableError::Length`] and [`VariableError::Form`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, VariableError> {
        let (time, rest) = bytes.split_first_chunk().ok_or(VariableError::Length)?;
        let header = rest.get(..CERTIFICATE_HEADER).ok_or(VariableError::Length)?;
        let length = le32(header, 0).ok_or(VariableError::Length)?;
        if header[4..8] != [0x00, 0x02, 0xf1, 0x0e] || header[8..] != CERT_PKCS7.0 {
            return Err(VariableError::Form);
        }
        let signature = rest.get(CERTIFICATE_HEADER..length).ok_or(VariableError::Length)?;
        let list = &rest[length..];
        Ok(Self { time, signature, list })
    }

    /// The certificates (DER) in the new content, each with its owner.
    ///
    /// # Errors
    /// As [`certificates`].
    pub fn certificates(&self) -> Result<Vec<(Guid, &'a [u8])>, VariableError> {
        certificates(self.list)
    }
}

/// The X.509 certificates (DER) of a variable's content, each with its owner. Anything else in it
/// (hashes, other key types, slack) is refused: Casemate's three variables hold certificates only.
///
/// # Errors
/// [`VariableError::Length`] and [`VariableError::NotCertificate`].
pub fn certificates(mut content: &[u8]) -> Result<Vec<(Guid, &[u8])>, VariableError> {
    let mut found = Vec::new();
    while !content.is_empty() {
        let size = le32(content, 16).ok_or(VariableError::Length)?;
        let header = le32(content, 20).ok_or(VariableError::Length)?;
        let entry = le32(content, 24).ok_or(VariableError::Length)?;
        if content[..16] != CERT_X509.0 {
            return Err(VariableError::NotCertificate);
        }
        let entries = content.get(LIST_HEADER..size).ok_or(VariableError::Length)?;
        if header != 0 || entry <= 16 || !entries.len().is_multiple_of(entry) {
            return Err(VariableError::Length);
        }
        for entry in entries.chunks(entry) {
            let (owner, der) = entry.split_first_chunk().ok_or(VariableError::Length)?;
            found.push((Guid(*owner), der));
        }
        content = &content[size..];
    }
    Ok(found)
}

/// Whether a machine's db is the site's, or on its way to it: every entry of it is one of the site's, and
/// there is at least one. So a machine that has not heard of a new certificate yet is still the site's,
/// and one that holds anything else is not.
#[must_use]
pub fn within(found: &[u8], site: &[u8]) -> bool {
    match (certificates(found), certificates(site)) {
        (Ok(found), Ok(site)) => {
            !found.is_empty() && found.iter().all(|certificate| site.contains(certificate))
        }
        _ => false,
    }
}

/// A signature list for each certificate (DER), as firmware tools write it: one list, one entry.
#[must_use]
pub fn list(owner: &Guid, certificates: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for der in certificates {
        let entry = u32::try_from(16 + der.len()).expect("certificates are far below 4 GiB");
        out.extend_from_slice(&CERT_X509.0);
        out.extend_from_slice(&(entry + 28).to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&entry.to_le_bytes());
        out.extend_from_slice(&owner.0);
        out.extend_from_slice(der);
    }
    out
}

/// What an update's signature covers (UEFI 2.10, 8.2.2): name in UTF-16LE without a NUL, vendor
/// GUID, attributes, time, content.
#[cfg(any(feature = "sign", test))]
fn signed_bytes(variable: Variable, time: &[u8; TIME_BYTES], list: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = variable.name().encode_utf16().flat_map(u16::to_le_bytes).collect();
    out.extend_from_slice(&variable.vendor().0);
    out.extend_from_slice(&ATTRIBUTES.to_le_bytes());
    out.extend_from_slice(time);
    out.extend_from_slice(list);
    out
}

/// EFI_TIME of a Unix time: UTC, no fraction (the pads, zone and daylight must be zero here).
#[cfg(any(feature = "sign", test))]
fn efi_time(unix: u64) -> [u8; TIME_BYTES] {
    let byte = |n: u64| u8::try_from(n).expect("below 60");
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Civil date from days: the year starts in March, so that the leap day is its last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut out = [0; TIME_BYTES];
    out[..2].copy_from_slice(&u16::try_from(year).unwrap_or(9_999).to_le_bytes());
    out[2..7].copy_from_slice(&[
        byte(month),
        byte(day),
        byte(second / 3_600),
        byte(second / 60 % 60),
        byte(second % 60),
    ]);
    out
}

/// Builds and signs an update that sets `variable` to exactly these certificates (DER), each owned by
/// [`OWNER`]. `signed_at` (Unix seconds) must be later than that of any update a machine already has;
/// PK must be signed by the key that it holds.
///
/// # Errors
/// [`crate::efi::signer::SignerError`] when the key cannot sign.
#[cfg(feature = "sign")]
pub fn sign(
    variable: Variable,
    signed_at: u64,
    certificates: &[&[u8]],
    signer: &crate::efi::signer::Signer,
) -> Result<Vec<u8>, crate::efi::signer::SignerError> {
    let time = efi_time(signed_at);
    let list = list(&OWNER, certificates);
    let signature = signer.sign_detached(&signed_bytes(variable, &time, &list))?;
    let length = u32::try_from(CERTIFICATE_HEADER + signature.len())
        .expect("a signature is far below 4 GiB");
    let mut out = time.to_vec();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&0x0200_u16.to_le_bytes());
    out.extend_from_slice(&0x0ef1_u16.to_le_bytes());
    out.extend_from_slice(&CERT_PKCS7.0);
    out.extend_from_slice(&signature);
    out.extend_from_slice(&list);
    Ok(out)
}

/// Checks that an update of `variable` was signed by the holder of `certificate` (DER).
///
/// # Errors
/// [`VariableError`], each kind of it.
#[cfg(feature = "sign")]
pub fn verify<'a>(
    variable: Variable,
    bytes: &'a [u8],
    certificate: &[u8],
) -> Result<Update<'a>, VariableError> {
    let update = Update::parse(bytes)?;
    update.certificates()?;
    let message = signed_bytes(variable, update.time, update.list);
    crate::efi::signer::verify_detached(&message, update.signature, certificate)
        .map_err(|_| VariableError::Signature)?;
    Ok(update)
}

fn le32(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}

#[cfg(test)]
mod tests;
