//! The command line of the image builder. Building and signing are separate commands, so that the db
//! key can stay on another machine.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use casemate_formats::{anchors::Anchors, manifest::Manifest};
use casemate_image::{
    cache, firmware,
    flash::{self, Order},
    initramfs, kernel,
    lock::Lock,
    manifest, reproduce,
    run::say,
    sbom,
    sign::{self, DISK, ESP, Key, MANIFEST, SIGNED, UNSIGNED},
    sources::{self, Archive, Fetched},
    tss::{self, Variant},
    uki::{self, Parts},
};
use clap::{Parser, Subcommand};

/// Writes a line of the result to stdout; a reader who has seen enough is no error.
macro_rules! show {
    ($($arguments:tt)*) => {
        drop(writeln!(std::io::stdout(), $($arguments)*))
    };
}

/// Version of the image: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const MIB: u64 = 1 << 20;

/// Builds, signs and checks images of the appliance.
#[derive(Parser)]
#[command(
    name = "cargo image",
    bin_name = "cargo image",
    version,
    after_help = "\
Examples:
  cargo image build --anchors site/anchors        unsigned UKI, manifest and SBOM in target/image
  cargo image sign --key site/private/db.key --certificate site/secure-boot/db.crt
                                                  signed UKI, ESP and disk image beside them
  cargo image flash --to /dev/sdX --erase         the disk image onto a disk
  cargo image lock --update                       newer kernel, TSS and stub of the same series

Products that take long are kept in $XDG_CACHE_HOME/casemate (~/.cache/casemate) by content hash."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the lock of sources, or moves it to the newest versions of the same series
    #[command(after_help = "Examples:\n  cargo image lock\n  cargo image lock --update")]
    Lock {
        /// Write the newest versions of each series into image/sources.lock
        #[arg(long)]
        update: bool,
    },
    /// Builds both TSS prefixes and lays the link target/tss that cargo needs
    #[command(after_help = "Example:\n  cargo image tss")]
    Tss {
        /// Refuse anything but the locked source
        #[arg(long)]
        locked: bool,
    },
    /// Builds the kernel into the cache and prints where it lies
    #[command(after_help = "Example:\n  cargo image kernel")]
    Kernel {
        /// Refuse anything but the locked source
        #[arg(long)]
        locked: bool,
    },
    /// Builds the firmware (PID 1) and prints where it lies
    #[command(after_help = "Example:\n  cargo image firmware")]
    Firmware {
        /// Refuse anything but the locked source and Cargo.lock as it is
        #[arg(long)]
        locked: bool,
    },
    /// Builds the unsigned UKI of a site, its manifest and SBOM
    #[command(
        after_help = "Example:\n  cargo image build --anchors site/anchors --out target/image"
    )]
    Build {
        /// The site's anchors (`casemate site init` writes them)
        #[arg(long, value_name = "FILE")]
        anchors: PathBuf,
        /// Where the products go
        #[arg(long, value_name = "DIR", default_value = "target/image")]
        out: PathBuf,
        /// Take this binary as /init instead of building the firmware
        #[arg(long, value_name = "FILE")]
        init: Option<PathBuf>,
        /// Refuse anything but the locked sources and Cargo.lock as it is
        #[arg(long)]
        locked: bool,
    },
    /// Signs the UKI with the site's db key; writes ESP and disk image; completes the manifest
    #[command(after_help = "\
Examples:
  cargo image sign --key site/private/db.key --certificate site/secure-boot/db.crt
  cargo image sign --signed-uki from-the-token.efi --certificate site/secure-boot/db.crt")]
    Sign {
        /// Where `build` put its products
        #[arg(long, value_name = "DIR", default_value = "target/image")]
        dir: PathBuf,
        /// The private half of db (PEM, RSA)
        #[arg(long, value_name = "FILE", required_unless_present = "signed_uki")]
        key: Option<PathBuf>,
        /// Instead of a key: the UKI as a token or another machine signed it
        #[arg(long, value_name = "FILE", conflicts_with = "key")]
        signed_uki: Option<PathBuf>,
        /// The certificate of db (PEM)
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Size of `state` in the disk image, in MiB; on a real disk it fills the rest
        #[arg(long, value_name = "MIB", default_value_t = 64)]
        state_mib: u64,
    },
    /// Checks a disk or disk image against a manifest, or rebuilds a published image and compares
    #[command(after_help = "\
Examples:
  cargo image verify
  cargo image verify --rebuild site/anchors --manifest published/manifest.json
  cargo image verify --disk /dev/sdX --manifest target/image/manifest.json --certificate db.crt")]
    Verify {
        /// The disk or its image
        #[arg(long, value_name = "FILE", default_value = "target/image/disk.img")]
        disk: PathBuf,
        /// What it shall be
        #[arg(long, value_name = "FILE", default_value = "target/image/manifest.json")]
        manifest: PathBuf,
        /// Check the signature with this db certificate as well
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// Instead of a disk: build the image of these anchors from this checkout, with the locked
        /// sources, and say where it parts from the manifest
        #[arg(long, value_name = "ANCHORS", conflicts_with_all = ["disk", "certificate"])]
        rebuild: Option<PathBuf>,
    },
    /// Writes an appliance's whole disk: ESP A, ESP B, and a `state` that fills the rest
    #[command(after_help = "\
Without --erase it shows the disk (model, serial, size) and asks for its serial number; where nobody can
be asked, the refusal says what to give. A mounted disk, one that swap, LVM or RAID uses, the running
system's, a partition and a disk that is too small are refused. A file that is not there is made.

Examples:
  cargo image flash --to /dev/sdX
  cargo image flash --to /dev/sdX --erase S3Z9NB0K --bundle site/bundles/7.bundle
  cargo image flash --to disk.img --state-mib 256")]
    Flash {
        /// Where `sign` put its products
        #[arg(long, value_name = "DIR", default_value = "target/image")]
        dir: PathBuf,
        /// The disk, or a file
        #[arg(long, value_name = "DEVICE")]
        to: PathBuf,
        /// A signed bundle for the box to find at its first boot: its address, where there is no DHCP
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
        /// Confirms that everything on the disk of this serial number (or of so many bytes) shall be lost
        #[arg(long, value_name = "SERIAL")]
        erase: Option<String>,
        /// Size of `state` in a new file, in MiB
        #[arg(long, value_name = "MIB", default_value_t = 64)]
        state_mib: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = checkout()?;
    let archive = Archive::default();
    match command {
        Command::Lock { update } => lock(&root, &archive, update),
        Command::Tss { locked } => {
            let fetched = tss::source(&Lock::read(&root.join(Lock::FILE))?, &archive, locked)?;
            let tests = tss::prefix(&fetched, Variant::Tests)?;
            let firmware = tss::prefix(&fetched, Variant::Firmware)?;
            tss::link(&tests, &root.join("target"))?;
            show!("{}\n{}", tests.display(), firmware.display());
            Ok(())
        }
        Command::Kernel { locked } => {
            let fetched = kernel::source(&Lock::read(&root.join(Lock::FILE))?, &archive, locked)?;
            show!("{}", kernel::build(&fetched)?.bz_image.display());
            Ok(())
        }
        Command::Firmware { locked } => {
            let lock = Lock::read(&root.join(Lock::FILE))?;
            let init = firmware(&root, &tss::source(&lock, &archive, locked)?, locked)?;
            show!("{}", init.display());
            Ok(())
        }
        Command::Build { anchors, out, init, locked } => {
            build(&root, &archive, &anchors, &out, init.as_deref(), locked)
        }
        Command::Sign { dir, key, signed_uki, certificate, state_mib } => {
            let key = match (&key, &signed_uki) {
                (Some(key), _) => Key::File(key),
                (None, Some(uki)) => Key::SignedUki(uki),
                (None, None) => bail!("expected --key or --signed-uki"),
            };
            let manifest = sign::sign(&dir, key, &certificate, state_mib * MIB)?;
            let image = manifest.image().context("signed just now")?;
            show!("pcr11         {}", image.pcr11);
            show!("authenticode  {}", image.authenticode);
            show!("esp           {}", image.esp);
            for name in [SIGNED, ESP, DISK, MANIFEST] {
                show!("wrote         {}", dir.join(name).display());
            }
            Ok(())
        }
        Command::Verify { manifest, rebuild: Some(anchors), .. } => {
            reproduce(&root, &archive, &anchors, &manifest::read(&manifest)?)
        }
        Command::Verify { disk, manifest, certificate, rebuild: None } => {
            let manifest = manifest::read(&manifest)?;
            for line in sign::verify(&disk, &manifest, certificate.as_deref())? {
                show!("{line}");
            }
            Ok(())
        }
        Command::Flash { dir, to, bundle, erase, state_mib } => {
            let state_bytes = state_mib * MIB;
            for line in flash::flash(&Order { dir, to, bundle, erase, state_bytes })? {
                show!("{line}");
            }
            Ok(())
        }
    }
}

fn lock(root: &Path, archive: &Archive, update: bool) -> Result<()> {
    let path = root.join(Lock::FILE);
    let mut lock = Lock::read(&path)?;
    for source in &mut lock.source {
        if !update {
            show!("{:14} {:18} {}", source.name, source.version, source.sha256);
            continue;
        }
        let newest = archive.newest(source)?;
        if newest.sha256 == source.sha256 {
            show!("{:14} {:18} is the newest", source.name, source.version);
        } else {
            show!("{:14} {:18} -> {}", source.name, source.version, newest.version);
            source.version = newest.version;
            source.sha256 = newest.sha256;
        }
    }
    if update {
        fs::write(&path, lock.to_text()?)?;
    }
    Ok(())
}

fn firmware(root: &Path, tss: &Fetched, locked: bool) -> Result<PathBuf> {
    let prefix = tss::prefix(tss, Variant::Firmware)?;
    firmware::build(root, &prefix, &root.join("target/firmware"), locked)
}

fn build(
    root: &Path,
    archive: &Archive,
    anchors: &Path,
    out: &Path,
    init: Option<&Path>,
    locked: bool,
) -> Result<()> {
    let anchors = fs::read(anchors).with_context(|| {
        format!("expected the anchors {}: `casemate site init` writes them", anchors.display())
    })?;
    Anchors::decode(&anchors)?;
    let lock = Lock::read(&root.join(Lock::FILE))?;
    let linux = kernel::source(&lock, archive, locked)?;
    let stub = archive.fetch(lock.get("systemd-stub")?, locked)?;
    let kernel = kernel::build(&linux)?;
    let tss = tss::source(&lock, archive, locked)?;
    let init = match init {
        Some(init) => init.to_owned(),
        None => firmware(root, &tss, locked)?,
    };
    let products = vec![
        manifest::product(
            "linux",
            kernel::key(&linux)?,
            vec![kernel.bz_image.clone(), kernel.config],
        )?,
        // Its archives hold the paths they were built in; what of them is in the image is in `init`.
        manifest::product("tpm2-tss", tss::key(&tss, Variant::Firmware)?, vec![])?,
        manifest::product(
            "casemate",
            cache::sha256(&root.join("Cargo.lock"))?.to_string(),
            vec![init.clone()],
        )?,
    ];
    let init = fs::read(&init).with_context(|| format!("expected {}", init.display()))?;
    ensure!(init.starts_with(b"\x7fELF"), "expected a static ELF binary as /init");
    say("build", "packing initramfs and UKI (seconds)");
    let initrd = initramfs::pack(&init, &anchors)?;
    let parts = Parts::new(VERSION, fs::read(kernel.bz_image)?, initrd);
    let unsigned = uki::assemble(&fs::read(sources::stub(&stub)?)?, &parts)?;
    let sources = vec![linux.source, stub.source, tss.source];
    let manifest = manifest::of(VERSION, &anchors, &parts, &unsigned, sources, products)?;
    let bom = sbom::document(&manifest, &sbom::crates(root)?);
    fs::create_dir_all(out)?;
    fs::write(out.join(UNSIGNED), &unsigned)?;
    fs::write(out.join(MANIFEST), manifest.to_json())?;
    // Whoever has the image can bring a lost site's directory back.
    fs::write(out.join("anchors"), &anchors)?;
    fs::write(out.join("sbom.json"), serde_json::to_string_pretty(&bom)? + "\n")?;
    show!("uki_bytes     {}", unsigned.len());
    show!("pcr11         {}", manifest.pcr11);
    show!("authenticode  {}", manifest.authenticode);
    for name in [UNSIGNED, MANIFEST, "sbom.json"] {
        show!("wrote         {}", out.join(name).display());
    }
    Ok(())
}

/// Builds the image anew and compares: the same bytes up to the signature, or what differs.
fn reproduce(root: &Path, archive: &Archive, anchors: &Path, published: &Manifest) -> Result<()> {
    let folder = root.join("target/reproduce");
    build(root, archive, anchors, &folder, None, true)?;
    let rebuilt = manifest::read(&folder.join(MANIFEST))?;
    let differences = reproduce::differences(published, &rebuilt);
    ensure!(
        differences.is_empty(),
        "the published image is not what this checkout builds:\n  {}\nnext: check out the commit it \
         was published from, on a host with the packages its manifest names",
        differences.join("\n  ")
    );
    show!("the same image: unsigned UKI {}, pcr11 {}", rebuilt.unsigned.sha256, rebuilt.pcr11);
    Ok(())
}

/// The checkout that this tool was built from, or the one we stand in.
fn checkout() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join(Lock::FILE).is_file());
    let root = found.map(Path::to_path_buf).with_context(|| {
        format!(
            "expected to stand in a checkout of Casemate (no {} above {})",
            Lock::FILE,
            here.display()
        )
    })?;
    cache::root()?;
    Ok(root)
}
