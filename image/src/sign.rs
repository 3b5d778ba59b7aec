//! Signs a built UKI with the site's db key and lays it on a disk; or takes a UKI that was signed
//! elsewhere (a token, another machine). Reads what `build` wrote and nothing else of the build.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use casemate_formats::{
    digest::Digest,
    efi::{
        authenticode,
        signer::{Signer, certificate_from_pem},
    },
    manifest::{Manifest, Signed},
};

use crate::{disk, manifest, run::say};

/// Names in the output folder.
pub const UNSIGNED: &str = "casemate.unsigned.efi";
/// The signed UKI.
pub const SIGNED: &str = "casemate.efi";
/// The ESP that holds it.
pub const ESP: &str = "esp.img";
/// The whole disk.
pub const DISK: &str = "disk.img";
/// The manifest.
pub const MANIFEST: &str = "manifest.json";

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// A private key in a file (PEM).
    File(&'a Path),
    /// Nobody here: this file is the UKI as somebody else signed it.
    SignedUki(&'a Path),
}

/// Signs the unsigned UKI in `folder`, writes signed UKI, ESP and disk beside it, and completes the
/// manifest. Deterministic: the same UKI and key give the same disk.
///
/// # Errors
/// The manifest does not fit the UKI, or the key or certificate is of no use.
pub fn sign(folder: &Path, key: Key<'_>, certificate: &Path, state_bytes: u64) -> Result<Manifest> {
    let mut manifest = manifest::read(&folder.join(MANIFEST))?;
    let unsigned = read(&folder.join(UNSIGNED))?;
    ensure!(
        manifest::file(&unsigned) == manifest.unsigned,
        "expected the UKI that the manifest describes (sha256 {}), found sha256 {}: build again",
        manifest.unsigned.sha256,
        Digest::sha256(&unsigned)
    );
    let certificate_pem = fs::read_to_string(certificate)
        .with_context(|| format!("expected the db certificate {}", certificate.display()))?;
    let signed = match key {
        Key::File(path) => {
            let key = fs::read_to_string(path)
                .with_context(|| format!("expected the db key {}", path.display()))?;
            let signer = Signer::new(&key, &certificate_pem)
                .with_context(|| format!("{} with {}", path.display(), certificate.display()))?;
            say("sign", "signing the UKI with the db key");
            authenticode::sign(&unsigned, &signer)?
        }
        Key::SignedUki(path) => read(path)?,
    };
    let der = certificate_from_pem(&certificate_pem)?;
    let hash = authenticode::verify(&signed, &der)
        .with_context(|| format!("checked against {}", certificate.display()))?;
    ensure!(
        hash == manifest.authenticode,
        "expected a signed form of the UKI that the manifest describes (Authenticode {}), found {hash}",
        manifest.authenticode
    );
    say("sign", "laying the disk: ESP A, ESP B, state (seconds)");
    let esp = disk::esp(&signed)?;
    fs::write(folder.join(SIGNED), &signed)?;
    fs::write(folder.join(ESP), &esp)?;
    disk::create(&folder.join(DISK), state_bytes, &esp)?;
    manifest.signed = Some(Signed {
        uki: manifest::file(&signed),
        esp: manifest::file(&esp),
        certificate: Digest::sha256(&der),
    });
    fs::write(folder.join(MANIFEST), manifest.to_json())?;
    Ok(manifest)
}

/// Checks a disk, an image of one, or an ESP against a manifest: both ESPs, the UKI in them, its
/// Authenticode hash and PCR 11, and the signature when a certificate is given. Gives what was
/// checked, line by line.
///
/// # Errors
/// The first thing that does not fit.
pub fn verify(what: &Path, manifest: &Manifest, certificate: Option<&Path>) -> Result<Vec<String>> {
    let signed = manifest
        .signed
        .as_ref()
        .context("the manifest is of an unsigned image: run `cargo image sign` first")?;
    let mut file = fs::File::open(what)
        .with_context(|| format!("expected a disk or an image at {}", what.display()))?;
    let esps = disk::read_esps(&mut file)?;
    let mut checked = Vec::new();
    for (name, esp) in ["A", "B"].iter().zip(&esps) {
        let found = Digest::sha256(esp);
        ensure!(
            found == signed.esp.sha256,
            "ESP {name}: expected sha256 {}, found {found}",
            signed.esp.sha256
        );
        checked.push(format!("ESP {name}: sha256 {found}"));
    }
    let uki = disk::uki_of(&esps[0])?;
    let hash = authenticode::hash(&uki)?;
    ensure!(
        hash == manifest.authenticode,
        "UKI: expected Authenticode {}, found {hash}",
        manifest.authenticode
    );
    checked.push(format!("UKI: Authenticode {hash}"));
    let sections = crate::uki::sections(&uki)?;
    let sections: Vec<(&str, &[u8])> =
        sections.iter().map(|(name, data)| (name.as_str(), *data)).collect();
    let pcr11 = casemate_formats::measure::phase(
        casemate_formats::measure::uki_pcr11(&sections),
        casemate_formats::measure::ENTER,
    );
    ensure!(
        pcr11 == manifest.pcr11,
        "PCR 11 at enter-casemate: expected {}, the sections give {pcr11}",
        manifest.pcr11
    );
    checked.push(format!("PCR 11 at enter-casemate: {pcr11}"));
    if let Some(path) = certificate {
        let der = certificate_from_pem(&fs::read_to_string(path)?)?;
        authenticode::verify(&uki, &der)?;
        checked.push(format!("signature: by the key of {}", path.display()));
    }
    Ok(checked)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("expected {}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests;
