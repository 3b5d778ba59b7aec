//! `casemate bundle sign`: shows what changes, then has `ssh-keygen` sign it, or takes signatures that
//! were made elsewhere.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use casemate_formats::{
    anchors::Anchors,
    bundle::{
        Bundle, Envelope,
        armor::{dearmor, fingerprint},
        signature::{NAMESPACE, Tally},
        sshsig::Sshsig,
        wire::body_digest,
    },
};

use crate::{
    output::{Failure, Output},
    site::{Site, bundle_failure, read_envelope, write},
    words,
};

/// Arguments of `casemate bundle sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle sign --site site --key ~/.ssh/id_ed25519\n  \
    casemate bundle sign --site site --key ~/.ssh/id_ed25519_sk --yes\n\n  \
    On another machine, from `casemate bundle build --body to-sign.body`:\n  \
    ssh-keygen -Y sign -n casemate.bundle.v1 -f ~/.ssh/id_ed25519 to-sign.body\n  \
    casemate bundle sign --site site --signature to-sign.body.sig")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".")]
    site: PathBuf,
    /// Which bundle; otherwise the one with the highest seq.
    #[arg(long)]
    seq: Option<u64>,
    /// Private key to sign with, or the public half of one that the SSH agent holds.
    #[arg(long = "key", value_name = "FILE", required_unless_present = "signatures")]
    keys: Vec<PathBuf>,
    /// A signature that was made elsewhere.
    #[arg(long = "signature", value_name = "FILE")]
    signatures: Vec<PathBuf>,
    /// Do not ask: the difference was read before.
    #[arg(long)]
    yes: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The bundle is wrong; the key is none of the anchors' signers; the signature does not hold; no.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::open(&self.site)?;
        let ever = site.anchors_ever()?;
        let anchors = site.anchors()?;
        let path = super::pick(&site, self.seq)?;
        let mut envelope = read_envelope(&path)?;
        let bundle =
            Bundle::decode(&envelope.body).map_err(|error| bundle_failure(&path, &error.into()))?;
        if bundle.site.namespace != anchors.namespace {
            return Err(Failure::from(casemate_formats::code::Code::ForeignNamespace)
                .expected(&anchors.namespace)
                .found(&bundle.site.namespace));
        }
        show(&site, &bundle, output)?;
        if !self.keys.is_empty() && !self.yes {
            output.confirm(format_args!(
                "Sign bundle {} of {}?",
                bundle.site.seq, bundle.site.namespace
            ))?;
        }
        let mut added = 0;
        for file in &self.signatures {
            let text = fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
            added += usize::from(add(&mut envelope, &ever, &text, file)?);
        }
        for key in &self.keys {
            let text = ssh_keygen(key, &envelope.body)?;
            added += usize::from(add(&mut envelope, &ever, &text, key)?);
        }
        let bytes = envelope.encode().map_err(|error| bundle_failure(&path, &error))?;
        write(&path, &bytes)?;
        report(&path, &bundle, &envelope, &ever, added, output);
        Ok(())
    }
}

/// The body, or what differs from the newest signed bundle before it.
fn show(site: &Site, bundle: &Bundle, output: &Output) -> Result<(), Failure> {
    match site.newest_signed(Some(bundle.site.seq))? {
        None => {
            output.note(format_args!("bundle {}: the first one, whole:", bundle.site.seq));
            for (path, value) in bundle.lines() {
                output.note(format_args!("  {path} = {value}"));
            }
        }
        Some(older) => {
            let (new, old) = (bundle.site.seq, older.bundle().site.seq);
            output.note(format_args!("bundle {new}, as it differs from bundle {old}:"));
            output.note(words::list(&words::changes(Some(older.bundle()), bundle)));
            output.note("value by value:");
            for line in bundle.difference(older.bundle()) {
                output.note(format_args!("  {line}"));
            }
        }
    }
    output.note(format_args!("digest {}", bundle.digest().grouped()));
    Ok(())
}

/// Adds an armoured signature if its signer has not signed yet.
fn add(
    envelope: &mut Envelope,
    ever: &[Anchors],
    armoured: &str,
    from: &Path,
) -> Result<bool, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::refused("signature", format!("{}: {error}", from.display()))
            .expected(format_args!(
                "a signature of this body, made by `ssh-keygen -Y sign -n {NAMESPACE}`"
            ))
            .found(format_args!("one of another body or purpose ({})", body_digest(&envelope.body)))
            .next("`casemate bundle build --body FILE` writes the bytes to sign")
    };
    let blob = dearmor(armoured).map_err(|error| refuse(&error))?;
    let signature = Sshsig::parse(&blob).map_err(|error| refuse(&error))?;
    let mut known = ever.iter().flat_map(|anchors| &anchors.signers);
    if !known.any(|signer| signer == signature.public_key()) {
        let known = ever.iter().take(1).flat_map(|anchors| &anchors.signers);
        let known: Vec<String> = known.map(|blob| fingerprint(blob)).collect();
        return Err(Failure::refused(
            "not-a-signer",
            format!("{}: no signer of this site", from.display()),
        )
        .expected(known.join(", "))
        .found(fingerprint(signature.public_key()))
        .next("sign with a key of site.toml; another key counts only with a new image"));
    }
    signature.verify(NAMESPACE, &envelope.body).map_err(|error| refuse(&error))?;
    let by_same = |other: &Vec<u8>| {
        Sshsig::parse(other).is_ok_and(|other| other.public_key() == signature.public_key())
    };
    if envelope.signatures.iter().any(by_same) {
        return Ok(false);
    }
    envelope.signatures.push(blob.clone());
    Ok(true)
}

fn ssh_keygen(key: &Path, body: &[u8]) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::environment("ssh-keygen", error.to_string())
            .expected("ssh-keygen of OpenSSH 8.1 or later (Debian package openssh-client)")
    };
    let mut child = Process::new("ssh-keygen")
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything (a wrong key file): its status counts.
        let _ = stdin.write_all(body);
    }
    let done = child.wait_with_output().map_err(failed)?;
    if !done.status.success() {
        return Err(Failure::environment("ssh-keygen", "ssh-keygen did not sign")
            .expected(format_args!(
                "a private key, or a public key that the agent holds: {}",
                key.display()
            ))
            .next("see what it said above"));
    }
    String::from_utf8(done.stdout)
        .map_err(|_| Failure::environment("ssh-keygen", "its signature is not text"))
}

fn report(
    path: &Path,
    bundle: &Bundle,
    envelope: &Envelope,
    ever: &[Anchors],
    added: usize,
    output: &Output,
) {
    let count = |anchors: &Anchors| {
        let tally = Tally::count(&envelope.body, &envelope.signatures, anchors);
        let signers = tally.signers.iter().filter_map(|at| anchors.signers.get(*at));
        (signers.map(|blob| fingerprint(blob)).collect::<Vec<_>>(), usize::from(anchors.threshold))
    };
    let mut counts = ever.iter().map(count);
    let (signers, needed) = counts.next().unwrap_or_default();
    let complete = signers.len() >= needed;
    // While signers change, boxes that run an older image want the former ones.
    let former: Vec<(usize, usize)> =
        counts.map(|(signers, needed)| (signers.len(), needed)).collect();
    let mut text = format!("{}: {} of {needed} signatures\n", path.display(), signers.len());
    for (found, needed) in &former {
        text += &format!("boxes with former anchors: {found} of {needed}\n");
    }
    text += &match needed.saturating_sub(signers.len()) {
        0 => "Next: `casemate bundle push`".to_owned(),
        missing => format!("{missing} more of the site's signers must sign it"),
    };
    output.result(
        text,
        &serde_json::json!({
            "path": path, "seq": bundle.site.seq, "digest": bundle.digest(), "signers": signers,
            "needed": needed, "complete": complete, "added": added,
            "former": former.iter().map(|(found, needed)| serde_json::json!({
                "found": found, "needed": needed,
            })).collect::<Vec<_>>(),
        }),
    );
}
