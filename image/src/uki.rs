//! Assembles the unified kernel image: systemd-stub with the sections that it measures. Writes the PE
//! itself, since objcopy stamps the time and leaves the stub's symbol table behind.

use casemate_formats::{digest::Digest, measure};

/// The kernel's command line, as a commented file.
const CMDLINE: &str = include_str!("../cmdline");
/// Section headers of a PE image.
const SECTION_HEADER: usize = 40;
/// Initialised data, readable.
const CHARACTERISTICS: u32 = 0x4000_0040;
/// Where the first of our sections may start: the next page after the stub's.
const PAGE: u32 = 0x1000;

/// What goes into a UKI.
#[derive(Clone, Debug)]
pub struct Parts {
    /// `.osrel`.
    pub os_release: Vec<u8>,
    /// `.cmdline`.
    pub cmdline: Vec<u8>,
    /// `.initrd`.
    pub initrd: Vec<u8>,
    /// `.linux`.
    pub linux: Vec<u8>,
}

/// Why no UKI can be made of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// The stub is not systemd-stub of the series whose measurements are known.
    #[error("expected systemd-stub 252 as a 64-bit PE image, found something else: {0}")]
    Stub(&'static str),
    /// The kernel cannot be started by the stub.
    #[error("expected a bzImage with an EFI stub as kernel, found something else: {0}")]
    Kernel(&'static str),
    /// The initramfs is not one.
    #[error("expected an initramfs packed with zstd, found something else")]
    Initrd,
    /// The command line would not arrive as it is written.
    #[error("expected one line of printable ASCII as command line")]
    Cmdline,
    /// There is no room for more section headers.
    #[error("the stub has no room for four more section headers")]
    Headers,
    /// Sections larger than a PE image can hold.
    #[error("the sections are too large for a PE image")]
    TooLarge,
}

impl Parts {
    /// The parts of a release: our os-release and command line around kernel and initramfs.
    #[must_use]
    pub fn new(version: &str, linux: Vec<u8>, initrd: Vec<u8>) -> Self {
        let os_release = format!(
            "ID=casemate\nNAME=Casemate\nVERSION_ID={version}\nPRETTY_NAME=\"Casemate {version}\"\n"
        );
        Self { os_release: os_release.into_bytes(), cmdline: cmdline().into_bytes(), initrd, linux }
    }

    /// The sections in file order. The stub measures them in an order of its own.
    #[must_use]
    pub fn sections(&self) -> [(&'static str, &[u8]); 4] {
        [
            (".osrel", &self.os_release),
            (".cmdline", &self.cmdline),
            (".initrd", &self.initrd),
            (".linux", &self.linux),
        ]
    }

    /// PCR 11 after `enter-casemate`.
    #[must_use]
    pub fn pcr11(&self) -> Digest {
        measure::phase(measure::uki_pcr11(&self.sections()), measure::ENTER)
    }

    /// Refuses what would boot into something else, or not at all.
    fn check(&self) -> Result<(), UkiError> {
        if self.linux.get(0x202..0x206) != Some(b"HdrS") {
            return Err(UkiError::Kernel("no boot header"));
        }
        if !self.linux.starts_with(b"MZ") {
            return Err(UkiError::Kernel("no EFI stub"));
        }
        if !self.initrd.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(UkiError::Initrd);
        }
        if self.cmdline.is_empty() || !self.cmdline.iter().all(|b| (b' '..=b'~').contains(b)) {
            return Err(UkiError::Cmdline);
        }
        Ok(())
    }
}

/// The command line: the file's options, joined.
#[must_use]
pub fn cmdline() -> String {
    let options: Vec<&str> =
        CMDLINE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    options.join(" ")
}

/// The unsigned UKI.
///
/// # Errors
/// [`UkiError`].
pub fn assemble(stub: &[u8], parts: &Parts) -> Result<Vec<u8>, UkiError> {
    parts.check()?;
    let stub = Stub::parse(stub)?;
    let sections = parts.sections();
    let headers_end = stub.headers_end + sections.len() * SECTION_HEADER;
    if headers_end > stub.headers_size {
        return Err(UkiError::Headers);
    }
    // The symbol table behind the last section is left out.
    let mut out = stub.bytes[..stub.raw_end].to_vec();
    out.resize(out.len().next_multiple_of(stub.file_alignment), 0);
    let mut address = stub.virtual_end.next_multiple_of(PAGE);
    let mut added = 0_u32;
    for (index, (name, data)) in sections.iter().enumerate() {
        let size = u32::try_from(data.len()).map_err(|_| UkiError::TooLarge)?;
        let raw_at = u32::try_from(out.len()).map_err(|_| UkiError::TooLarge)?;
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(stub.file_alignment), 0);
        let raw = u32::try_from(out.len()).map_err(|_| UkiError::TooLarge)? - raw_at;
        let header = stub.headers_end + index * SECTION_HEADER;
        out[header..header + name.len()].copy_from_slice(name.as_bytes());
        // VirtualSize is exactly the payload: the stub measures that many bytes.
        for (at, field) in
            [(8, size), (12, address), (16, raw), (20, raw_at), (36, CHARACTERISTICS)]
        {
            out[header + at..header + at + 4].copy_from_slice(&field.to_le_bytes());
        }
        added = added.checked_add(raw).ok_or(UkiError::TooLarge)?;
        address = address
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(PAGE))
            .ok_or(UkiError::TooLarge)?;
    }
    let count = u16::try_from(stub.count + sections.len()).map_err(|_| UkiError::Headers)?;
    out[stub.pe + 6..stub.pe + 8].copy_from_slice(&count.to_le_bytes());
    let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    // COFF symbols: none. SizeOfInitializedData, SizeOfImage, CheckSum (not checked by firmware).
    put(stub.pe + 12, 0);
    put(stub.pe + 16, 0);
    put(stub.pe + 24 + 8, stub.initialized.saturating_add(added));
    put(stub.pe + 24 + 56, address);
    put(stub.pe + 24 + 64, 0);
    Ok(out)
}

/// The sections of a UKI by name, as the stub finds them: exactly `VirtualSize` bytes.
///
/// # Errors
/// [`UkiError::Stub`].
pub fn sections(uki: &[u8]) -> Result<Vec<(String, &[u8])>, UkiError> {
    let (pe, count, table) = section_table(uki)?;
    let _ = pe;
    (0..count)
        .map(|index| {
            let header = &uki[table + index * SECTION_HEADER..][..SECTION_HEADER];
            let name: Vec<u8> = header[..8].iter().copied().take_while(|b| *b != 0).collect();
            let (size, at) = (le32(header, 8), le32(header, 20));
            let data = size.zip(at).and_then(|(size, at)| uki.get(at..at.checked_add(size)?));
            let data = data.ok_or(UkiError::Stub("a section outside the file"))?;
            Ok((String::from_utf8_lossy(&name).into_owned(), data))
        })
        .collect()
}

struct Stub<'a> {
    bytes: &'a [u8],
    pe: usize,
    count: usize,
    headers_end: usize,
    headers_size: usize,
    file_alignment: usize,
    initialized: u32,
    raw_end: usize,
    virtual_end: u32,
}

impl<'a> Stub<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        const SHORT: UkiError = UkiError::Stub("cut short");
        let (pe, count, table) = section_table(bytes)?;
        // The version decides which sections are measured, in which order.
        if !contains(bytes, b"systemd-stub 252") {
            return Err(UkiError::Stub("another version"));
        }
        let optional = pe + 24;
        let file_alignment = le32(bytes, optional + 36).ok_or(SHORT)?;
        let headers_size = le32(bytes, optional + 60).ok_or(SHORT)?;
        if !file_alignment.is_power_of_two() {
            return Err(UkiError::Stub("its file alignment"));
        }
        let (mut raw_end, mut virtual_end) = (0, 0);
        for index in 0..count {
            let header = table + index * SECTION_HEADER;
            let field = |at| le32(bytes, header + at).ok_or(SHORT);
            raw_end = raw_end.max(field(16)?.checked_add(field(20)?).ok_or(SHORT)?);
            virtual_end = virtual_end.max(field(8)?.checked_add(field(12)?).ok_or(SHORT)?);
        }
        if raw_end > bytes.len() {
            return Err(SHORT);
        }
        Ok(Self {
            bytes,
            pe,
            count,
            headers_end: table + count * SECTION_HEADER,
            headers_size,
            file_alignment,
            initialized: u32::try_from(le32(bytes, optional + 8).ok_or(SHORT)?)
                .map_err(|_| SHORT)?,
            raw_end,
            virtual_end: u32::try_from(virtual_end).map_err(|_| SHORT)?,
        })
    }
}

/// Offset of the PE header, number of sections, offset of the section table.
fn section_table(bytes: &[u8]) -> Result<(usize, usize, usize), UkiError> {
    const NOT: UkiError = UkiError::Stub("not a PE image");
    casemate_formats::efi::authenticode::Layout::parse(bytes).map_err(|_| NOT)?;
    let pe = le32(bytes, 0x3c).ok_or(NOT)?;
    let le16 = |at: usize| Some(usize::from(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?)));
    let count = le16(pe + 6).ok_or(NOT)?;
    let table = pe + 24 + le16(pe + 20).ok_or(NOT)?;
    if bytes.len() < table + count * SECTION_HEADER {
        return Err(NOT);
    }
    Ok((pe, count, table))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn le32(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests;
