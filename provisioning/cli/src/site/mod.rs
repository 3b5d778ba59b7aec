//! A site's directory: where each file lies, and how it is read and written. Everything but
//! `private/` is made for ops' git; nothing secret ever stands outside of `private/`.
//!
//! ```text
//! site.toml  bundle.toml  images.toml       what people write
//! anchors  secure-boot/{PK,KEK,db}.{crt,auth}
//! former-anchors/HASH                       of older images; what was signed under them still counts
//! hosts/NAME.toml  hosts/NAME.log           `casemate host add`: record; event log that it was made from
//! genesis/G-S.json  acks/G-S/NAME.json      root G, split S: answers, acknowledgements
//! bundles/SEQ.bundle                        built, then signed
//! private/{PK,KEK,db}.key                   never tracked
//! ```

mod authorities;
pub mod edit;
mod files;
pub mod restore;
pub mod template;

pub use files::{Written, not_in_place_of, read_bounded, write, write_json};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use casemate_formats::{
    anchors::Anchors,
    api,
    bundle::{
        BundleError, Envelope, Verified,
        body::{Image, Label},
        error::expected_and_found,
        source::{
            BundleSource, Compiled, Finding, Genesis, HostRecord, ImagesSource, Input, SiteSource,
            compile,
        },
    },
    digest::Digest,
    genesis::{Ack, Document},
    request::{
        eventlog::{self, EventLog},
        verify,
    },
};

use crate::output::Failure;

/// Bytes of a genesis answer with its bundle, in base64: several times what 16 custodians' shares take.
const DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// A site's directory.
#[derive(Clone, Debug)]
pub struct Site {
    dir: PathBuf,
}

impl Site {
    /// A directory that `casemate site init` made.
    ///
    /// # Errors
    /// Environment: there is no `site.toml` in it.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        if dir.join("site.toml").is_file() {
            return Ok(Self { dir: dir.to_owned() });
        }
        Err(Failure::environment("no-site", format!("{} is no site", dir.display()))
            .expected("a directory with site.toml")
            .next("name it with --site, or make one with `casemate site init`"))
    }

    /// Where a file of it lies.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The anchors that its images hold.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub fn anchors(&self) -> Result<Anchors, Failure> {
        read_anchors(&self.path("anchors"))
    }

    /// `site.toml`.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub fn source(&self) -> Result<SiteSource, Failure> {
        let path = self.path("site.toml");
        SiteSource::parse(&files::read_text(&path)?).map_err(|error| malformed(&path, &error))
    }

    /// `bundle.toml`.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub fn bundle_source(&self) -> Result<BundleSource, Failure> {
        let path = self.path("bundle.toml");
        BundleSource::parse(&files::read_text(&path)?).map_err(|error| malformed(&path, &error))
    }

    /// `images.toml`.
    ///
    /// # Errors
    /// The file is wrong; none: no image.
    pub fn images_source(&self) -> Result<ImagesSource, Failure> {
        let path = self.path("images.toml");
        if !path.exists() {
            return Ok(ImagesSource::default());
        }
        ImagesSource::parse(&files::read_text(&path)?).map_err(|error| malformed(&path, &error))
    }

    /// Images that may run, newest last.
    ///
    /// # Errors
    /// As [`Site::images_source`].
    pub fn images(&self) -> Result<Vec<Image>, Failure> {
        let records = self.images_source()?.image;
        Ok(records
            .into_iter()
            .map(|record| Image {
                pcr11: record.pcr11,
                esp: record.esp,
                authenticode: record.authenticode,
            })
            .collect())
    }

    /// Every host record by name.
    ///
    /// # Errors
    /// A file is wrong, or its name is none of a host.
    pub fn hosts(&self) -> Result<BTreeMap<Label, HostRecord>, Failure> {
        let mut hosts = BTreeMap::new();
        for path in files::list(&self.path("hosts"), "toml")? {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let name = Label::parse(stem).ok_or_else(|| {
                Failure::refused("out-of-range", format!("{}: not a host's name", path.display()))
                    .expected("hosts/NAME.toml; NAME of a-z, 0-9 and -, starting with a letter")
                    .next("rename or remove it")
            })?;
            let text = files::read_text(&path)?;
            let record = HostRecord::parse(&text).map_err(|error| malformed(&path, &error))?;
            hosts.insert(name, record);
        }
        Ok(hosts)
    }

    /// One host record.
    ///
    /// # Errors
    /// Refused: there is no such host.
    pub fn host(&self, name: &str) -> Result<(Label, HostRecord), Failure> {
        let mut hosts = self.hosts()?;
        let found = Label::parse(name).and_then(|label| hosts.remove_entry(&label));
        found.ok_or_else(|| {
            let known: Vec<&str> = hosts.keys().map(Label::as_str).collect();
            Failure::refused("no-such-host", format!("there is no host {name:?} in this site"))
                .expected(if known.is_empty() { "a host".to_owned() } else { known.join(", ") })
                .next("`casemate host add` lists one")
        })
    }

    /// Writes a host record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_host(&self, name: &Label, record: &HostRecord) -> Result<Written, Failure> {
        let text =
            record.format().map_err(|error| Failure::environment("toml", error.to_string()))?;
        write(&self.path(format!("hosts/{name}.toml")), text.as_bytes())
    }

    /// The firmware's event log that a host record was made from; none: it was not kept, or does not lead
    /// to a PCR 7 that the record lists. Signers sign the record and not the log: from one that was put
    /// in its place nothing may be concluded.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than any log.
    pub fn event_log(&self, name: &Label, record: &HostRecord) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.path(format!("hosts/{name}.log"));
        let bytes = path.exists().then(|| read_bounded(&path, eventlog::MAX_BYTES)).transpose()?;
        let of_record = |bytes: &Vec<u8>| {
            EventLog::parse(bytes).is_ok_and(|log| record.pcr7.contains(&log.replay()[7]))
        };
        Ok(bytes.filter(of_record))
    }

    /// Keeps the event log of a verified request.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_event_log(&self, name: &Label, log: &[u8]) -> Result<Written, Failure> {
        write(&self.path(format!("hosts/{name}.log")), log)
    }

    /// Removes a host record with its event log; whether there was one.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove_host(&self, name: &Label) -> Result<bool, Failure> {
        let mut found = false;
        for ending in ["log", "toml"] {
            let path = self.path(format!("hosts/{name}.{ending}"));
            match std::fs::remove_file(&path) {
                Ok(()) => found = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::file(&path, &error)),
            }
        }
        Ok(found)
    }

    /// The file of a bundle.
    #[must_use]
    pub fn bundle_path(&self, seq: u64) -> PathBuf {
        self.path(format!("bundles/{seq:06}.bundle"))
    }

    /// Every built bundle by ascending `seq`, signed or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn bundles(&self) -> Result<BTreeMap<u64, PathBuf>, Failure> {
        let paths = files::list(&self.path("bundles"), "bundle")?;
        let seq = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(paths.into_iter().filter_map(|path| Some((seq(&path)?, path))).collect())
    }

    /// The newest bundle with enough signatures, below `seq` if one is given.
    ///
    /// # Errors
    /// The anchors or a file cannot be read; a bundle is damaged.
    pub fn newest_signed(&self, below: Option<u64>) -> Result<Option<Verified>, Failure> {
        let bundles = self.bundles()?;
        if bundles.is_empty() {
            return Ok(None);
        }
        let anchors = self.anchors_ever()?;
        for (seq, path) in bundles.iter().rev() {
            if below.is_some_and(|below| *seq >= below) {
                continue;
            }
            let bytes = files::read(path)?;
            for anchors in &anchors {
                match Verified::verify(&bytes, anchors) {
                    Ok(verified) => return Ok(Some(verified)),
                    Err(BundleError::TooFewSignatures { .. }) => {}
                    Err(error) => return Err(bundle_failure(path, &error)),
                }
            }
        }
        Ok(None)
    }

    /// The anchors, then those of earlier images: what former signers signed stays the site's history.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn anchors_ever(&self) -> Result<Vec<Anchors>, Failure> {
        let mut all = vec![self.anchors()?];
        for path in files::list(&self.path("former-anchors"), "anchors")? {
            all.push(read_anchors(&path)?);
        }
        Ok(all)
    }

    /// Writes the anchors; others that were there before are kept as former ones.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_anchors(&self, bytes: &[u8]) -> Result<Written, Failure> {
        let path = self.path("anchors");
        if path.exists() {
            let old = files::read(&path)?;
            if old != bytes {
                let name = format!("former-anchors/{}.anchors", Digest::sha256(&old));
                write(&self.path(name), &old)?;
            }
        }
        write(&path, bytes)
    }

    /// Genesis answers, acknowledgements and the root of the newest signed bundle, all verified.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn genesis(&self) -> Result<Genesis, Failure> {
        let base = self.newest_signed(None)?;
        let mut answers = Vec::new();
        let documents = files::list(&self.path("genesis"), "json")?;
        let anchors = if documents.is_empty() { Vec::new() } else { self.anchors_ever()? };
        for path in documents {
            let mut read = Err(Failure::environment("anchors", "there are none"));
            for anchors in &anchors {
                read = read_document(&path, anchors);
                let unsigned = |failure: &Failure| failure.code() == "too-few-signatures";
                if !read.as_ref().is_err_and(unsigned) {
                    break;
                }
            }
            answers.push(read?);
        }
        let mut acks = Vec::new();
        for folder in files::folders(&self.path("acks"))? {
            for path in files::list(&folder, "json")? {
                let ack: Ack = serde_json::from_str(&files::read_text(&path)?)
                    .map_err(|error| malformed(&path, &error))?;
                acks.push(ack);
            }
        }
        Ok(Genesis { base, answers, acks })
    }

    /// Keeps a genesis answer where `bundle build` and custodians find it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_genesis(&self, document: &Document) -> Result<(PathBuf, Written), Failure> {
        let (generation, split) = (document.answer.generation, document.answer.split);
        let path = self.path(format!("genesis/{generation}-{split}.json"));
        Ok((path.clone(), files::write_json(&path, document)?))
    }

    /// Keeps a custodian's acknowledgement.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_ack(&self, ack: &Ack) -> Result<(PathBuf, Written), Failure> {
        let Ack { generation, split, custodian, .. } = ack;
        let path = self.path(format!("acks/{generation}-{split}/{custodian}.json"));
        Ok((path.clone(), files::write_json(&path, ack)?))
    }

    /// Compiles the bundle that the directory describes.
    ///
    /// # Errors
    /// A file cannot be read, or everything that is wrong with what they say.
    pub fn compile(&self) -> Result<Compiled, Problems> {
        let site = self.source()?.compile()?;
        let (bundle, hosts) = (self.bundle_source()?, self.hosts()?);
        let (images, genesis) = (self.images_source()?, self.genesis()?);
        let input = Input {
            namespace: &site.namespace,
            bundle: &bundle,
            hosts: &hosts,
            images: &images,
            genesis: &genesis,
        };
        Ok(compile(&input)?)
    }
}

/// Why a directory does not compile.
#[derive(Debug)]
pub enum Problems {
    /// Files say something wrong.
    Findings(Vec<Finding>),
    /// A file is missing or cannot be understood at all.
    Failure(Failure),
}

impl From<Failure> for Problems {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Vec<Finding>> for Problems {
    fn from(findings: Vec<Finding>) -> Self {
        Self::Findings(findings)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        match problems {
            Problems::Failure(failure) => failure,
            Problems::Findings(findings) => match findings.split_first() {
                None => Self::refused("inconsistent", "the site does not compile"),
                Some((first, rest)) => {
                    let more = match rest.len() {
                        0 => String::new(),
                        more => format!(", and {more} more: `casemate bundle check` shows them"),
                    };
                    Self::refused(first.code, format!("{}{more}", first.place))
                        .expected(&first.expected)
                        .found(&first.found)
                        .next(&first.next)
                }
            },
        }
    }
}

/// Reads anchors.
///
/// # Errors
/// The file is missing or wrong.
pub fn read_anchors(path: &Path) -> Result<Anchors, Failure> {
    let bytes = files::read(path).map_err(|failure| {
        failure.next("`casemate site init` writes the anchors from site.toml and secure-boot/")
    })?;
    Anchors::decode(&bytes).map_err(|error| {
        Failure::refused("anchors", format!("{}: {error}", path.display()))
            .next("`casemate site init` writes them again")
    })
}

/// Reads a genesis answer and verifies it and its bundle.
///
/// # Errors
/// The file is wrong, the bundle is not signed by the anchors' signers, or the answer is not quoted by
/// a box that it lists.
pub fn read_document(
    path: &Path,
    anchors: &Anchors,
) -> Result<(Verified, casemate_formats::genesis::Answer), Failure> {
    // A custodian may have it from anybody.
    let bytes = read_bounded(path, DOCUMENT_BYTES)?;
    let Document { bundle, answer } =
        api::parse(&bytes).map_err(|error| malformed(path, &error))?;
    let verified = Verified::verify(&bundle, anchors).map_err(|e| bundle_failure(path, &e))?;
    verify::genesis(&answer, verified.bundle(), &verified.digest())?;
    Ok((verified, answer))
}

/// Reads a built bundle without believing it.
///
/// # Errors
/// The file is missing or no envelope.
pub fn read_envelope(path: &Path) -> Result<Envelope, Failure> {
    Envelope::parse(&files::read(path)?).map_err(|error| bundle_failure(path, &error))
}

/// A bundle's refusal as a failure.
#[must_use]
pub fn bundle_failure(path: &Path, error: &BundleError) -> Failure {
    let code = error.code();
    let failure = Failure::refused(code.slug(), format!("{}: {}", path.display(), code.title()))
        .next(code.what_to_do());
    let text = error.to_string();
    let (expected, found) = expected_and_found(&text);
    match found {
        Some(found) => failure.expected(expected).found(found),
        None => failure.expected(expected),
    }
}

fn malformed(path: &Path, error: &impl ToString) -> Failure {
    Failure::refused("malformed-file", path.display().to_string())
        .found(error.to_string().trim_end().replace('\n', "\n            "))
        .next("correct that line; comments in the file say what may stand there")
}

#[cfg(test)]
mod tests;
