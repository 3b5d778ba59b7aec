//! `casemate client …`: keys of clients. The bundle lists a client's key, so nobody signs its
//! certificate; the private key never leaves the machine that made it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use casemate_formats::bundle::body::Label;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::{
    connection::{Identity, identity},
    output::{Failure, Output},
};

/// Keys of clients.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes a key pair and says what to put into the bundle.
    ///
    /// Makes a P-256 key and a self-signed certificate for a client (an application, an operator, a
    /// collector). Where both exist, nothing is changed and the same lines are printed.
    New(New),
}

/// Arguments of `casemate client new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate client new rails --out /etc/casemate\n  \
    casemate client new ops --out ~/.config/casemate\n\n\
    Then put the printed lines into bundle.toml, build and sign a bundle, and push it.")]
pub struct New {
    /// Name of the client, as the audit log shows it.
    name: String,
    /// Directory for NAME.crt and NAME.key.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The subcommand's own.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::New(command) => command.run(output),
        }
    }
}

impl New {
    fn run(self, output: &Output) -> Result<(), Failure> {
        if Label::parse(&self.name).is_none() {
            return Err(Failure::environment("client-name", "this is no name of a client")
                .expected("a-z, 0-9 and -, starting with a letter, at most 32 characters")
                .found(self.name));
        }
        let stem = self.out.join(&self.name);
        let (certificate, key) = identity::files(&stem);
        let made = match (certificate.exists(), key.exists()) {
            (true, true) => false,
            (false, false) => {
                fs::create_dir_all(&self.out).map_err(|error| Failure::file(&self.out, &error))?;
                make(&self.name, &certificate, &key)?;
                true
            }
            _ => {
                return Err(Failure::refused("half-a-pair", "one half of the pair is there")
                    .expected(format_args!("{} and {}", certificate.display(), key.display()))
                    .next("bring the other half back, or remove this one"));
            }
        };
        let digest = Identity::read(&stem)?.digest().ok_or_else(|| {
            Failure::environment("client-identity", "the certificate cannot be read")
        })?;
        let word = if made { "made" } else { "kept" };
        let text = format!(
            "{word} {} and {} (the private key: keep it on this machine)\n\n\
             # bundle.toml: what this client may do\n\
             [[client]]\nname = \"{}\"\nkeys = [\"{digest}\"]\n\
             # roles = [\"operate\", \"monitor\", \"audit\"]\n\
             # keyrings = {{ pii = [\"encrypt\", \"decrypt\"] }}",
            certificate.display(),
            key.display(),
            self.name,
        );
        output.result(
            text,
            &serde_json::json!({
                "name": self.name, "made": made, "certificate": certificate, "key": key,
                "spki_sha256": digest,
            }),
        );
        Ok(())
    }
}

fn make(name: &str, certificate: &Path, key: &Path) -> Result<(), Failure> {
    let failed = |error: rcgen::Error| Failure::environment("client-key", error.to_string());
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // The bundle decides how long a key is good; a certificate must not end at night.
    parameters.not_before = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let pem = parameters.self_signed(&pair).map_err(failed)?.pem();
    write_new(key, 0o600, pair.serialize_pem().as_bytes())?;
    write_new(certificate, 0o644, pem.as_bytes())
}

/// Writes a file that must not exist yet, whole before it has its name's content.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| Failure::file(path, &error))
}
