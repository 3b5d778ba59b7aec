//! `casemate bundle fetch`: the bundle in force, from a box; and from nothing, the site's directory.

use std::path::{Path, PathBuf};

use casemate_formats::{
    anchors::Anchors,
    bundle::{Verified, body::Host},
    code::Code,
    limits,
    request::{endorsement::EndorsementKey, verify::Known},
};
use serde_json::json;

use crate::{
    attest::{self, Terms},
    command::forward::operator,
    connection::{Connection, DEFAULT_PORT, Trust},
    output::{Failure, Output},
    reach::Reach,
    site::{bundle_failure, read_anchors, read_bounded, restore::restore, write},
};

/// Arguments of `casemate bundle fetch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate bundle fetch --site site --host alpha\n\n\
    The repository is lost:\n  \
    casemate bundle fetch --address 10.0.0.7 --anchors target/image/anchors --site new \\\n    \
    --client ~/.config/casemate/ops\n  \
    casemate bundle fetch --file site.bundle --anchors anchors --site new\n\n\
    Private keys, addresses under which this workstation reaches boxes (`reach`), versions of images\n\
    and comments are in no bundle.")]
pub struct Command {
    /// The site's directory; a new one with --address or --file.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// A box of a site whose directory is there.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["address", "file"])]
    host: Option<String>,
    /// Where a box is reached.
    #[arg(long, value_name = "ADDRESS[:PORT]", conflicts_with = "file")]
    address: Option<String>,
    /// A bundle in a file, in place of a box.
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    file: Option<PathBuf>,
    /// The site's anchors; they lie beside every image, and in every share file.
    #[arg(long, value_name = "FILE", required_unless_present = "host", conflicts_with = "host")]
    anchors: Option<PathBuf>,
    /// Certificate and key of a client that may operate, monitor or audit: FILE.crt and FILE.key.
    #[arg(long, value_name = "FILE", env = "CASEMATE_CLIENT")]
    client: Option<PathBuf>,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// No box, or one that is not of this site; a bundle that the anchors' signers did not sign; one
    /// that cannot be written as sources; a directory that holds something else.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if let Some(host) = self.host {
            let Self { site, address, client, .. } = self;
            return keep(&Reach { site, host, address, client }, output);
        }
        let anchors = match &self.anchors {
            Some(path) => read_anchors(path)?,
            None => return Err(Failure::environment("usage", "--anchors FILE")),
        };
        let bundle = match (&self.file, &self.address) {
            (Some(path), _) => {
                let bytes = read_bounded(path, limits::BUNDLE_BYTES)?;
                Verified::verify(&bytes, &anchors).map_err(|error| bundle_failure(path, &error))?
            }
            (None, Some(address)) => from_box(address, &anchors, self.client.as_deref())?,
            (None, None) => return Err(Failure::environment("usage", "--address or --file")),
        };
        let written = restore(&self.site, &anchors, &bundle)?;
        let files: Vec<String> =
            written.iter().map(|(name, written)| format!("{written} {name}")).collect();
        let hosts: Vec<&str> =
            bundle.bundle().hosts.iter().map(|host| host.name.as_str()).collect();
        output.result(
            format_args!(
                "{}\n{}: bundle {} of {}, digest {}; its sources build to the same body\n\
                 next: write into hosts/NAME.toml how each is reached (reach = \"HOST:PORT\"): {}; bring \
                 back private/ (Secure Boot keys) from where it is kept",
                files.join("\n"),
                self.site.display(),
                bundle.bundle().site.seq,
                bundle.bundle().site.namespace,
                bundle.digest().short(),
                hosts.join(", "),
            ),
            &json!({
                "site": self.site, "seq": bundle.bundle().site.seq, "bundle": bundle.digest(),
                "namespace": bundle.bundle().site.namespace, "hosts": hosts,
                "files": written.iter().map(|(name, written)| json!({
                    "path": name, "written": written,
                })).collect::<Vec<_>>(),
            }),
        );
        Ok(())
    }
}

/// The bundle in force on a box about which nothing is known but its site's anchors. The box quotes
/// that this bundle is the one in force, so nobody in between can show an older one.
fn from_box(address: &str, anchors: &Anchors, client: Option<&Path>) -> Result<Verified, Failure> {
    let identity = operator(client, "fetching a bundle")?;
    let mut connection = Connection::new(address, DEFAULT_PORT, Some(identity), Trust::Anyone)?;
    let bytes = connection.get_bytes("/v1/bundle")?;
    let bundle = Verified::verify(&bytes, anchors).map_err(|error| {
        bundle_failure(Path::new("the box's bundle"), &error)
            .next("these are other anchors than the box's image has, or it is another site's box")
    })?;
    let (_, request) = attest::ask(&mut connection, None)?;
    let ek = EndorsementKey::parse(&request.ek_public)
        .map_err(|error| Failure::from(Code::EndorsementKey).found(error))?;
    let hosts = &bundle.bundle().hosts;
    let host: &Host = hosts.iter().find(|host| host.ek == *ek.name()).ok_or_else(|| {
        Failure::from(Code::HostMismatch)
            .expected("the endorsement key of a listed host")
            .found(ek.name().fingerprint().short())
    })?;
    let terms = Terms { anchors, images: &bundle.bundle().images, host: Known::Listed(host) };
    let (_, attested) = attest::verified(&mut connection, terms, None)?;
    if attested.claims.bundle != bundle.digest() {
        return Err(Failure::from(Code::WrongBundle)
            .expected(attest::or_none(&attested.claims.bundle))
            .found(bundle.digest())
            .next(
                "somebody in between shows an older bundle: find out who answers at this address",
            ));
    }
    Ok(bundle)
}

/// Into a directory that is there: the bundle in force on one of its boxes.
fn keep(reach: &Reach, output: &Output) -> Result<(), Failure> {
    operator(reach.client.as_deref(), "fetching a bundle")?;
    let mut listed = reach.listed()?;
    listed.trust()?;
    let bytes = listed.connection.get_bytes("/v1/bundle")?;
    let mut verified = Err(Failure::environment("anchors", "there are none"));
    for anchors in listed.site.anchors_ever()? {
        verified = Verified::verify(&bytes, &anchors)
            .map_err(|error| bundle_failure(Path::new("the box's bundle"), &error));
        if verified.is_ok() {
            break;
        }
    }
    let bundle = verified?;
    let seq = bundle.bundle().site.seq;
    let path = listed.site.bundle_path(seq);
    if path.exists() {
        let here = crate::site::read_envelope(&path)?;
        if here.body != bundle.bundle().encode() {
            return Err(Failure::from(Code::SeqFork)
                .expected(format_args!("the body of {}", path.display()))
                .found(bundle.digest()));
        }
    }
    let written = write(&path, bundle.envelope())?;
    output.result(
        format_args!(
            "{written} {}: bundle {seq}, in force on {}, digest {}",
            path.display(),
            listed.host.name,
            bundle.digest().short()
        ),
        &json!({ "path": path, "seq": seq, "bundle": bundle.digest(), "written": written }),
    );
    Ok(())
}
