//! A first bundle on a new disk: `state` with a header and one slot, as the firmware would have
//! written them. It is checked as the box will check it, before anything is lost.

use anyhow::{Context as _, Result, ensure};
use casemate_formats::{
    anchors::Anchors,
    bundle::Verified,
    efi::partition::STATE_MIN_BYTES,
    manifest::Manifest,
    state::{CrashSector, Geometry, Slot, UNIT, header},
};

use crate::{initramfs, uki};

/// A bundle that boxes with this image accept.
///
/// # Errors
/// It is not signed by the image's signers, or does not list the image.
pub fn check(envelope: &[u8], uki: &[u8], manifest: &Manifest) -> Result<Verified> {
    let sections = uki::sections(uki)?;
    let initrd = sections.iter().find(|(name, _)| name == ".initrd");
    let (_, initrd) = initrd.context("expected a UKI with an initramfs")?;
    let anchors = Anchors::decode(&initramfs::anchors(initrd)?)?;
    let verified = Verified::verify(envelope, &anchors)
        .map_err(|error| anyhow::anyhow!("{}: {error}", error.code().slug()))
        .context("the box would refuse this bundle")?;
    let listed = verified.bundle().images.iter().any(|image| image.pcr11 == manifest.pcr11);
    ensure!(
        listed,
        "image-not-listed: expected a bundle that lists the image {}, which is flashed: \
         `casemate bundle add-image`, then build and sign",
        manifest.pcr11
    );
    Ok(verified)
}

/// The addresses that a box can come up under, line by line.
#[must_use]
pub fn addresses(verified: &Verified) -> Vec<String> {
    let bundle = verified.bundle();
    let hosts = bundle.hosts.iter().map(|host| (&host.name, &host.network, "by its TPM"));
    let expected = bundle.expected.iter().map(|of| (&of.name, &of.network, "by its interface"));
    hosts
        .chain(expected)
        .map(|(name, network, known)| {
            let all: Vec<String> = network
                .addresses
                .iter()
                .map(|prefix| format!("{}/{}", prefix.address, prefix.length))
                .collect();
            let all = if all.is_empty() { "DHCP".to_owned() } else { all.join(", ") };
            format!("{name}: {all}, port {} (known {known})", bundle.service.port)
        })
        .collect()
}

/// The first bytes of a blank `state`: as many as the firmware looks at.
///
/// # Panics
/// Never: 8 MiB are in memory.
#[must_use]
pub fn blank() -> Vec<u8> {
    vec![0; usize::try_from(STATE_MIN_BYTES).expect("8 MiB")]
}

/// The first bytes of a `state` of `bytes` that holds a bundle.
///
/// # Errors
/// The partition or the slot is too small for it.
pub fn with_bundle(bytes: u64, envelope: &[u8]) -> Result<Vec<u8>> {
    let geometry = Geometry::of(bytes / UNIT as u64)?;
    let slot = Slot {
        write_number: 1,
        label: 0,
        branches: heapless::Vec::new(),
        bundle: envelope.to_vec(),
        blob: None,
    };
    let slot = slot.encode().context("the bundle does not fit into a slot")?;
    let mut out = blank();
    let mut put = |unit: u64, content: &[u8]| -> Result<()> {
        let at = usize::try_from(unit)? * UNIT;
        out[at..at + content.len()].copy_from_slice(content);
        Ok(())
    };
    put(header::HEADER, &geometry.encode())?;
    put(header::CRASH, &CrashSector::default().encode())?;
    put(header::FIRST_SLOT, &slot)?;
    Ok(out)
}
