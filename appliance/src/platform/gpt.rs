//! The partition table of a disk (GPT, UEFI 2.10, 5.3), as far as it says who a partition is: the
//! kernel names them, but does not tell their GUIDs.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
};

use casemate_formats::efi::Guid;

/// Most entries that are read: what every partitioning tool makes room for.
const MAX_ENTRIES: u32 = 128;
/// Bytes of an entry; other sizes are allowed and not in use.
const ENTRY: usize = 128;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const ESP: Guid =
    Guid::new(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);

/// A partition as its entry describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Whether it is an EFI system partition.
    pub esp: bool,
    /// Its own GUID.
    pub guid: Guid,
    /// First block.
    pub start: u64,
    /// Blocks.
    pub blocks: u64,
    /// Its name.
    pub name: String,
}

/// Reads the primary table of a disk whose blocks have `block` bytes.
///
/// # Errors
/// The disk's, or `InvalidData` for what is no table.
pub fn read(disk: &mut File, block: u32) -> io::Result<Vec<Partition>> {
    let block = u64::from(block);
    let mut header = [0; 92];
    disk.seek(SeekFrom::Start(block))?;
    disk.read_exact(&mut header)?;
    let table = Table::parse(&header).ok_or(ErrorKind::InvalidData)?;
    let mut entries = vec![0; table.entries as usize * ENTRY];
    disk.seek(SeekFrom::Start(
        table.first_block.checked_mul(block).ok_or(ErrorKind::InvalidData)?,
    ))?;
    disk.read_exact(&mut entries)?;
    Ok((1..).zip(entries.chunks_exact(ENTRY)).filter_map(|(n, e)| partition(n, e)).collect())
}

struct Table {
    first_block: u64,
    entries: u32,
}

impl Table {
    fn parse(header: &[u8; 92]) -> Option<Self> {
        let size = le32(header, 84)?;
        let entries = le32(header, 80)?;
        if &header[..8] != SIGNATURE || size as usize != ENTRY || entries > MAX_ENTRIES {
            return None;
        }
        Some(Self { first_block: le64(header, 72)?, entries })
    }
}

fn partition(number: u32, entry: &[u8]) -> Option<Partition> {
    let guid = |at: usize| entry.get(at..)?.first_chunk().copied().map(Guid);
    let (kind, start, last) = (guid(0)?, le64(entry, 32)?, le64(entry, 40)?);
    let blocks = last.checked_sub(start)?.checked_add(1)?;
    if kind.0 == [0; 16] {
        return None;
    }
    let units =
        entry.get(56..ENTRY)?.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Some(Partition {
        number,
        esp: kind == ESP,
        guid: guid(16)?,
        start,
        blocks,
        name: String::from_utf16_lossy(&name),
    })
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn disk(block: usize, entries: u32, first: &[u8]) -> File {
        let mut bytes = vec![0; block * 40];
        bytes[block..block + 8].copy_from_slice(SIGNATURE);
        bytes[block + 72..block + 80].copy_from_slice(&2_u64.to_le_bytes());
        bytes[block + 80..block + 84].copy_from_slice(&entries.to_le_bytes());
        bytes[block + 84..block + 88].copy_from_slice(&128_u32.to_le_bytes());
        bytes[2 * block..2 * block + first.len()].copy_from_slice(first);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        file
    }

    fn entry(start: u64, last: u64) -> Vec<u8> {
        let mut entry = ESP.0.to_vec();
        entry.extend([7; 16]);
        entry.extend(start.to_le_bytes());
        entry.extend(last.to_le_bytes());
        entry.extend([0; 8]);
        entry.extend("ESP A".encode_utf16().flat_map(u16::to_le_bytes));
        entry.resize(ENTRY, 0);
        entry
    }

    #[test]
    fn a_table_of_either_block_size_gives_its_partitions() {
        for block in [512, 4096] {
            let found =
                read(&mut disk(block as usize, 4, &entry(2048, 4095)), block).expect("read");
            let [only] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((only.number, only.start, only.blocks), (1, 2048, 2048));
            assert!(only.esp);
            assert_eq!(only.name, "ESP A");
            assert_eq!(only.guid, Guid([7; 16]));
        }
    }

    #[test]
    fn a_partition_that_ends_before_it_starts_and_a_huge_table_are_refused() {
        assert_eq!(read(&mut disk(512, 4, &entry(9, 7)), 512).expect("read"), []);
        assert!(read(&mut disk(512, 129, &[]), 512).is_err());
        assert!(read(&mut disk(512, u32::MAX, &[]), 512).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(header in proptest::array::uniform32(any::<u8>()), bytes: Vec<u8>) {
            let mut full = [0; 92];
            full[60..].copy_from_slice(&header);
            full[..8].copy_from_slice(SIGNATURE);
            let _ = Table::parse(&full);
            let _ = partition(1, &bytes);
        }
    }
}
