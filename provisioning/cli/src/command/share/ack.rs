//! `casemate share ack`: a custodian checks offline that a box of the site made the answer, decrypts a
//! share, keeps it, and gives ops an acknowledgement. No share ever stands on a disk in clear.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use casemate_formats::{
    bundle::{
        Verified,
        body::{Asked, Custodian},
    },
    code::Code,
    digest::Digest,
    genesis::{Ack, Answer},
    share::ShareFile,
};

use crate::{
    custody::{Age, Kept, review},
    output::{Failure, Output},
    site::{Site, Written, read_anchors, read_document, write_json},
};

/// Arguments of `casemate share ack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate share ack site/genesis/1-1.json --site site --identity ~/.config/age/key.txt\n  \
    casemate share ack 1-1.json --anchors anchors --identity key.txt --custodian ann --out ~/casemate\n\n\
    Keep the .share.age file for as long as any bundle in force names its root: k of them bring the\n\
    site back. Give the acknowledgement (.json) to ops; it is public.")]
pub struct Command {
    /// The answer, as `casemate genesis run` wrote it.
    genesis: PathBuf,
    #[command(flatten)]
    age: Age,
    /// The site's directory: its anchors are believed, and the acknowledgement goes there.
    #[arg(long, value_name = "DIR", required_unless_present = "anchors")]
    site: Option<PathBuf>,
    /// The site's anchors, where there is no site directory.
    #[arg(long, value_name = "FILE", conflicts_with = "site")]
    anchors: Option<PathBuf>,
    /// Your name in the bundle; otherwise every share is tried.
    #[arg(long, value_name = "NAME")]
    custodian: Option<String>,
    /// Where your share file goes (and the acknowledgement, without --site).
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Fingerprint of other anchors than your share file remembers, which you accept.
    #[arg(long, value_name = "FINGERPRINT")]
    accept_anchors: Option<String>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// The answer or its bundle does not hold; no share is for this identity; the share is not the one
    /// that the box committed to.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let site = self.site.as_deref().map(Site::open).transpose()?;
        let anchors = match (&site, &self.anchors) {
            (Some(site), _) => site.anchors()?,
            (None, Some(path)) => read_anchors(path)?,
            (None, None) => return Err(Failure::environment("usage", "--site or --anchors")),
        };
        let (verified, answer) = read_document(&self.genesis, &anchors)?;
        let asked = verified.bundle().root.asked().ok_or(Code::GenesisNotAsked)?;
        let (at, custodian, mut file) = self.mine(&asked, &answer)?;
        check(&file, at, &verified, &asked, &answer)?;
        let ack = Ack {
            namespace: verified.bundle().site.namespace.clone(),
            generation: answer.generation,
            split: answer.split,
            custodian: custodian.name.clone(),
            ack: file.share.ack(),
        };
        let share_path = self.share_path(&file, custodian);
        let accepted = self.accept_anchors.as_deref().map(review::fingerprint).transpose()?;
        let earlier = self.earlier(&share_path, &file, output)?;
        file.bundle = verified.envelope().to_vec();
        if let Some(earlier) = earlier {
            // Whoever was believed stays, and nothing goes back to an older bundle.
            if !earlier.file.anchors.is_empty() {
                review::believe(&earlier.anchors(None)?, &anchors, accepted.as_ref())?;
            }
            let seen = earlier.seen()?.map_or(0, |seen| seen.site.seq);
            if seen > verified.bundle().site.seq {
                file.bundle.clone_from(&earlier.file.bundle);
            }
        }
        file.anchors =
            anchors.encode().map_err(|error| Failure::refused("anchors", error.to_string()))?;
        let kept = Kept { path: share_path, file };
        kept.write(&custodian.recipient)?;
        let share_path = kept.path;
        let (ack_path, written) = match &site {
            Some(site) => site.write_ack(&ack)?,
            None => {
                let name = ack_name(&ack);
                let path = self.out.join(format!("{name}.ack.json"));
                (path.clone(), write_json(&path, &ack)?)
            }
        };
        report(&ack, &asked, &share_path, &ack_path, written, output);
        Ok(())
    }

    /// Decrypts the share that is for this identity.
    fn mine<'a>(
        &self,
        asked: &Asked<'a>,
        answer: &Answer,
    ) -> Result<(usize, &'a Custodian, ShareFile), Failure> {
        let named = |custodian: &Custodian| {
            self.custodian.as_ref().is_none_or(|name| custodian.name.as_str() == name)
        };
        let mut last = None;
        for (at, (custodian, file)) in asked.custodians.iter().zip(&answer.shares).enumerate() {
            if !named(custodian) {
                continue;
            }
            match self.age.decrypt(file)? {
                Ok(plaintext) => {
                    let share = ShareFile::decode(&plaintext).map_err(|error| {
                        Failure::refused("share-malformed", error.to_string())
                            .next("do not acknowledge; tell ops, the answer is not the box's")
                    })?;
                    return Ok((at, custodian, share));
                }
                Err(said) => last = Some(said),
            }
        }
        let names: Vec<&str> = asked.custodians.iter().map(|c| c.name.as_str()).collect();
        let failure =
            Failure::refused("no-share", "no share in this answer opens with this identity")
                .expected(format_args!("the identity of one of {}", names.join(", ")))
                .next("check --identity and --custodian; the bundle lists the recipients");
        Err(match last {
            Some(said) => failure.found(said),
            None => failure.found(format_args!("--custodian {:?}", self.custodian)),
        })
    }

    fn share_path(&self, file: &ShareFile, custodian: &Custodian) -> PathBuf {
        let ShareFile { namespace, generation, split, .. } = file;
        self.out.join(format!("{namespace}-{generation}-{split}-{}.share.age", custodian.name))
    }

    /// What stands under this name from before. A file with another share (the root was made again),
    /// or one that this identity does not open, is moved aside and never overwritten: the root in use
    /// may be the one that it belongs to.
    fn earlier(
        &self,
        path: &Path,
        file: &ShareFile,
        output: &Output,
    ) -> Result<Option<Kept>, Failure> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::file(path, &error)),
        };
        let plaintext = self.age.decrypt(&bytes)?.ok();
        let earlier = plaintext.and_then(|plaintext| ShareFile::decode(&plaintext).ok());
        let commitment = file.share.commitment();
        if let Some(earlier) = earlier.filter(|file| file.share.commitment() == commitment) {
            return Ok(Some(Kept { path: path.to_owned(), file: earlier }));
        }
        let aside = path.with_extension(format!("{}.age", Digest::sha256(&bytes)));
        fs::rename(path, &aside).map_err(|error| Failure::file(path, &error))?;
        output.note(format_args!(
            "another share stood in {}: it is {} now; keep it until the bundle in force names the other \
             root",
            path.display(),
            aside.display(),
        ));
        Ok(None)
    }
}

fn ack_name(ack: &Ack) -> String {
    let Ack { namespace, generation, split, custodian, .. } = ack;
    format!("{namespace}-{generation}-{split}-{custodian}")
}

/// The share is the one that the box committed to, and says the same as the answer.
fn check(
    file: &ShareFile,
    at: usize,
    verified: &Verified,
    asked: &Asked<'_>,
    answer: &Answer,
) -> Result<(), Failure> {
    let bundle = verified.bundle();
    let index = u8::try_from(at + 1).unwrap_or(u8::MAX);
    let same = file.namespace == bundle.site.namespace
        && (file.generation, file.split) == (answer.generation, answer.split)
        && file.threshold == asked.threshold
        && file.fingerprint == answer.fingerprint
        && file.share.index() == index;
    if !same {
        return Err(Failure::from(Code::GenesisAltered)
            .expected(format_args!(
                "share {index} of {} of root {} (split {}), fingerprint {}",
                asked.custodians.len(),
                answer.generation,
                answer.split,
                answer.fingerprint
            ))
            .found(format_args!(
                "share {} of root {} (split {}), fingerprint {}",
                file.share.index(),
                file.generation,
                file.split,
                file.fingerprint
            )));
    }
    let (expected, found) = (answer.commitments.get(at), file.share.commitment());
    if expected != Some(&found) {
        return Err(Failure::from(Code::WrongCommitment)
            .expected(expected.map_or_else(|| "none".to_owned(), ToString::to_string))
            .found(found)
            .next("do not acknowledge; ask ops for the answer of one genesis"));
    }
    Ok(())
}

fn report(
    ack: &Ack,
    asked: &Asked<'_>,
    share_path: &Path,
    ack_path: &Path,
    written: Written,
    output: &Output,
) {
    let text = format!(
        "share of {} for root {} of {} (split {}; {} of {} open it)\n\
         kept in {} (encrypted to you: keep it)\n\
         {written} {} (give it to ops)",
        ack.custodian,
        ack.generation,
        ack.namespace,
        ack.split,
        asked.threshold,
        asked.custodians.len(),
        share_path.display(),
        ack_path.display(),
    );
    output.result(
        text,
        &serde_json::json!({
            "ack": ack, "share_file": share_path, "ack_file": ack_path, "written": written,
        }),
    );
}
