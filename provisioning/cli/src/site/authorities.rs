//! The file that clients pin: the site's CA certificates, one for each generation of the root.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_formats::bundle::body::Established;

use super::{Site, Written, write};
use crate::output::Failure;

impl Site {
    /// Writes `authorities.pem` (RFC 7468): every generation's certificate, so that clients trust the
    /// next one before a box serves it.
    ///
    /// # Errors
    /// Environment.
    pub fn write_authorities(&self, root: &Established) -> Result<(PathBuf, Written), Failure> {
        let text: String = root.authorities.iter().map(|der| pem(der)).collect();
        let path = self.path("authorities.pem");
        let written = write(&path, text.as_bytes())?;
        Ok((path, written))
    }
}

/// A certificate in PEM (RFC 7468).
pub(super) fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_breaks_lines_at_64() {
        assert_eq!(
            pem(&[0; 49]),
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\nAA==\n-----END CERTIFICATE-----\n",
                "A".repeat(64)
            )
        );
    }
}
