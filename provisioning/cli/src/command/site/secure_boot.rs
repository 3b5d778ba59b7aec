//! The site's Secure Boot keys: RSA-2048 (what every UEFI firmware takes), self-signed certificates, and
//! the signed variables that a machine in set-up mode is given.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use casemate_formats::efi::{
    signer::{Signer, SignerError},
    variable::{self, Variable},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use zeroize::Zeroizing;

use crate::{
    output::Failure,
    site::{Written, write},
};

/// Signed updates of the three variables.
pub(super) struct Keys {
    pub(super) pk: Vec<u8>,
    pub(super) kek: Vec<u8>,
    pub(super) db: Vec<u8>,
}

/// Makes what is missing. A variable that is signed already is kept, so that its key may be elsewhere.
pub(super) fn complete(
    dir: &Path,
    now: u64,
    written: &mut Vec<(PathBuf, Written)>,
) -> Result<Keys, Failure> {
    let mut update = |variable: Variable, by: Variable| -> Result<Vec<u8>, Failure> {
        let name = variable.name();
        let path = dir.join(format!("secure-boot/{name}.auth"));
        if path.exists() {
            return fs::read(&path).map_err(|error| Failure::file(&path, &error));
        }
        let own = pair(dir, name, written)?;
        let signer = pair(dir, by.name(), written)?;
        let signed = variable::sign(variable, now, &[own.certificate()], &signer)
            .map_err(|error| unfit(by.name(), &error))?;
        written.push((path.clone(), write(&path, &signed)?));
        Ok(signed)
    };
    Ok(Keys {
        pk: update(Variable::Pk, Variable::Pk)?,
        kek: update(Variable::Kek, Variable::Pk)?,
        db: update(Variable::Db, Variable::Kek)?,
    })
}

/// A variable's key with its certificate; both are made if neither is there.
///
/// # Errors
/// One of them is missing, or they do not belong together.
pub(super) fn signer(
    dir: &Path,
    variable: Variable,
    written: &mut Vec<(PathBuf, Written)>,
) -> Result<Signer, Failure> {
    pair(dir, variable.name(), written)
}

/// A key with its certificate; both are made if neither is there.
fn pair(dir: &Path, name: &str, written: &mut Vec<(PathBuf, Written)>) -> Result<Signer, Failure> {
    let key_path = dir.join(format!("private/{name}.key"));
    let certificate_path = dir.join(format!("secure-boot/{name}.crt"));
    match (key_path.exists(), certificate_path.exists()) {
        (false, false) => {
            let (key, certificate) = make(name)
                .map_err(|error| Failure::environment("secure-boot-key", error.to_string()))?;
            write_private(&key_path, key.as_bytes())
                .map_err(|error| Failure::file(&key_path, &error))?;
            written.push((key_path.clone(), Written::New));
            let new = write(&certificate_path, certificate.as_bytes())?;
            written.push((certificate_path.clone(), new));
        }
        (true, true) => {}
        (false, true) => {
            return Err(Failure::environment(
                "secure-boot-key",
                format!("secure-boot/{name}.auth is to be signed, and its key is not here"),
            )
            .expected(key_path.display())
            .next(format!(
                "bring the key back for a moment, or bring back secure-boot/{name}.auth"
            )));
        }
        (true, false) => {
            return Err(Failure::refused("secure-boot-key", "a key without its certificate")
                .expected(certificate_path.display())
                .next("bring the certificate back, or move the key away to make a new pair"));
        }
    }
    let read = |path: &Path| {
        fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::file(path, &error))
    };
    Signer::new(&read(&key_path)?, &read(&certificate_path)?).map_err(|error| unfit(name, &error))
}

fn make(name: &str) -> Result<(Zeroizing<String>, String), rcgen::Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("Casemate {name}"));
    // Firmware does not look at it, and a site must not end at night.
    parameters.not_before = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate = parameters.self_signed(&key)?.pem();
    Ok((Zeroizing::new(key.serialize_pem()), certificate))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn unfit(name: &str, error: &SignerError) -> Failure {
    Failure::refused("secure-boot-key", format!("private/{name}.key, secure-boot/{name}.crt"))
        .found(error)
        .next("bring back the pair that belongs together")
}
