//! A FAT32 volume that holds one file, `EFI/BOOT/BOOTX64.EFI`: written without a clock or a chance, so
//! that an ESP has one hash. (Microsoft, "FAT: General Overview of On-Disk Format" 1.03.)

/// Bytes of a sector, and of a cluster: small ones, so that 64 MiB have enough clusters for FAT32.
const SECTOR: usize = 512;
const RESERVED: u8 = 32;
const COPIES: u8 = 2;
/// Copy of the boot sector.
const BACKUP: u8 = 6;
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;
const FILE_NAME: &[u8; 11] = b"BOOTX64 EFI";
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const VOLUME: u8 = 0x08;
/// 1980-01-01, FAT's first day.
const DATE: [u8; 2] = [0x21, 0x00];
/// Entries in a sector of the table.
const ENTRIES: u32 = 128;
const END: u32 = 0x0fff_ffff;
const LABEL: &[u8; 11] = b"CASEMATE   ";
const SERIAL: u32 = 0xca5e_3a7e;

/// A volume of `size` bytes with `content` as its file; `None` when it does not fit.
#[must_use]
pub fn volume(size: usize, content: &[u8]) -> Option<Vec<u8>> {
    let layout = Layout::of(size)?;
    let used = u32::try_from(content.len().div_ceil(SECTOR)).ok()?;
    if content.is_empty() || used > layout.clusters - (FILE - ROOT) {
        return None;
    }
    let length = u32::try_from(content.len()).ok()?;
    let mut out = vec![0; size];
    let boot = layout.boot_sector();
    let info = layout.information(used + FILE - ROOT);
    for at in [0, usize::from(BACKUP)] {
        out[at * SECTOR..][..SECTOR].copy_from_slice(&boot);
        out[(at + 1) * SECTOR..][..SECTOR].copy_from_slice(&info);
    }
    for copy in 0..usize::from(COPIES) {
        let mut entry = (usize::from(RESERVED) + copy * layout.fat_sectors as usize) * SECTOR;
        let chain = (FILE..FILE + used).map(|c| if c + 1 == FILE + used { END } else { c + 1 });
        // The first two entries hold the medium and the state, the three folders one cluster each.
        for value in [0x0fff_fff8, END, END, END, END].into_iter().chain(chain) {
            out[entry..entry + 4].copy_from_slice(&value.to_le_bytes());
            entry += 4;
        }
    }
    let mut put = |cluster: u32, bytes: &[u8]| {
        let at = layout.cluster(cluster);
        out[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(ROOT, &[entry(LABEL, VOLUME, 0, 0), entry(b"EFI        ", DIRECTORY, EFI, 0)].concat());
    // A folder in the root names its parent as cluster 0.
    let dots = |own, parent| {
        [entry(b".          ", DIRECTORY, own, 0), entry(b"..         ", DIRECTORY, parent, 0)]
            .concat()
    };
    put(EFI, &[dots(EFI, 0), entry(b"BOOT       ", DIRECTORY, BOOT, 0).to_vec()].concat());
    put(BOOT, &[dots(BOOT, EFI), entry(FILE_NAME, ARCHIVE, FILE, length).to_vec()].concat());
    put(FILE, content);
    Some(out)
}

/// The file of a volume that [`volume`] wrote; `None` for any other.
#[must_use]
pub fn content(bytes: &[u8]) -> Option<Vec<u8>> {
    let layout = Layout::of(bytes.len())?;
    let record = bytes.get(layout.cluster(BOOT) + 64..)?.get(..32)?;
    let length = u32::from_le_bytes(*record.get(28..)?.first_chunk()?);
    let content = bytes.get(layout.cluster(FILE)..)?.get(..usize::try_from(length).ok()?)?;
    (volume(bytes.len(), content)? == bytes).then(|| content.to_vec())
}

struct Layout {
    sectors: u32,
    fat_sectors: u32,
    clusters: u32,
}

impl Layout {
    fn of(size: usize) -> Option<Self> {
        let sectors = u32::try_from(size / SECTOR).ok()?;
        let before = |fat: u32| u32::from(RESERVED) + u32::from(COPIES) * fat;
        // The smallest table with an entry (of four bytes) for each cluster behind it, and for the two
        // numbers that are none.
        let entries = |fat: u32| fat * ENTRIES;
        let fat_sectors = (1..sectors / 4)
            .find(|fat| sectors.saturating_sub(before(*fat)) + 2 <= entries(*fat))?;
        // Fewer would make it FAT16.
        let clusters = sectors.checked_sub(before(fat_sectors)).filter(|c| *c >= 65_525)?;
        Some(Self { sectors, fat_sectors, clusters })
    }

    /// Where a cluster lies.
    fn cluster(&self, number: u32) -> usize {
        let before = u32::from(RESERVED) + u32::from(COPIES) * self.fat_sectors;
        (before + number - ROOT) as usize * SECTOR
    }

    fn boot_sector(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"CASEMATE");
        put(11, &[0x00, 0x02, 1]);
        put(14, &[RESERVED, 0, COPIES]);
        // Medium: fixed disk. Geometry as nobody uses it any more.
        put(21, &[0xf8]);
        put(24, &[63, 0, 255, 0]);
        put(32, &self.sectors.to_le_bytes());
        put(36, &self.fat_sectors.to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        put(48, &[1, 0, BACKUP, 0]);
        put(64, &[0x80, 0, 0x29]);
        put(67, &SERIAL.to_le_bytes());
        put(71, LABEL);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        out
    }

    fn information(&self, used: u32) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[..4].copy_from_slice(b"RRaA");
        out[484..488].copy_from_slice(b"rrAa");
        out[488..492].copy_from_slice(&(self.clusters - used).to_le_bytes());
        out[492..496].copy_from_slice(&(ROOT + used).to_le_bytes());
        out[510..].copy_from_slice(&[0x55, 0xaa]);
        out
    }
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, length: u32) -> [u8; 32] {
    let (cluster, mut out) = (cluster.to_le_bytes(), [0; 32]);
    out[..11].copy_from_slice(name);
    out[11] = attributes;
    // Created, accessed, written: the date alone.
    for at in [16, 18, 24] {
        out[at..at + 2].copy_from_slice(&DATE);
    }
    out[20..22].copy_from_slice(&cluster[2..]);
    out[26..28].copy_from_slice(&cluster[..2]);
    out[28..].copy_from_slice(&length.to_le_bytes());
    out
}
