//! A boot entry (`Boot####`, EFI_LOAD_OPTION of UEFI 2.10, 3.1.3) for one of the two ESPs: 122 bytes
//! that name the partition by its GPT identity and the file `\EFI\BOOT\BOOTX64.EFI` in it.

use std::vec::Vec;

/// Attributes that efivarfs writes before the entry: NON_VOLATILE | BOOTSERVICE | RUNTIME.
pub const ATTRIBUTES: u32 = 7;

/// Bytes of every entry that Casemate writes.
pub const BYTES: usize = 122;

const FILE: &str = r"\EFI\BOOT\BOOTX64.EFI";
/// LOAD_OPTION_ACTIVE.
const ACTIVE: [u8; 4] = 1_u32.to_le_bytes();
/// Hard drive node (42 bytes), file path node (48), end node (4): 10.3.5.1, 10.3.5.4, 10.3.1.
const PATH_BYTES: [u8; 2] = 0x5e_u16.to_le_bytes();
const HARD_DRIVE: [u8; 4] = [0x04, 0x01, 0x2a, 0x00];
const FILE_PATH: [u8; 4] = [0x04, 0x04, 0x30, 0x00];
const END: [u8; 4] = [0x7f, 0xff, 0x04, 0x00];
/// Partition format GPT, signature type GUID.
const GPT_GUID: [u8; 2] = [2, 2];
/// Attributes, path length, and the eleven UTF-16 units of "Casemate A" with its NUL.
const PATH_AT: usize = 4 + 2 + 22;

/// Which of the two ESPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Esp {
    /// The first partition.
    A,
    /// The second partition.
    B,
}

impl Esp {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `A` or `B`.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// What the firmware's menu shows, ten characters each.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::A => "Casemate A",
            Self::B => "Casemate B",
        }
    }
}

/// An entry for one of Casemate's ESPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootEntry {
    /// Which ESP the description names.
    pub esp: Esp,
    /// Partition number, from 1.
    pub partition: u32,
    /// First sector (of 512 bytes).
    pub start: u64,
    /// Length in sectors.
    pub sectors: u64,
    /// The partition's unique GUID, as the GPT stores it.
    pub guid: [u8; 16],
}

impl BootEntry {
    /// The variable's content, without the attributes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(&ACTIVE);
        out.extend_from_slice(&PATH_BYTES);
        push_utf16(&mut out, self.esp.description());
        out.extend_from_slice(&HARD_DRIVE);
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.sectors.to_le_bytes());
        out.extend_from_slice(&self.guid);
        out.extend_from_slice(&GPT_GUID);
        out.extend_from_slice(&FILE_PATH);
        push_utf16(&mut out, FILE);
        out.extend_from_slice(&END);
        out
    }

    /// The entry, if these bytes are exactly one that Casemate writes; firmware has entries of its
    /// own, which are `None`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let esp = [Esp::A, Esp::B].into_iter().find(|esp| {
            let mut description = Vec::new();
            push_utf16(&mut description, esp.description());
            bytes.get(6..PATH_AT) == Some(&description)
        })?;
        let node = bytes.get(PATH_AT + HARD_DRIVE.len()..)?;
        let entry = Self {
            esp,
            partition: u32::from_le_bytes(*node.first_chunk()?),
            start: u64::from_le_bytes(*node.get(4..)?.first_chunk()?),
            sectors: u64::from_le_bytes(*node.get(12..)?.first_chunk()?),
            guid: *node.get(20..)?.first_chunk()?,
        };
        (entry.encode() == bytes).then_some(entry)
    }
}

fn push_utf16(out: &mut Vec<u8>, text: &str) {
    out.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> BootEntry {
        let guid = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        BootEntry { esp: Esp::B, partition: 2, start: 133_120, sectors: 131_072, guid }
    }

    #[test]
    fn an_entry_is_the_golden_122_bytes() {
        let golden = include_bytes!("../../testdata/boot_entry.bin");
        assert_eq!(golden.len(), BYTES);
        assert_eq!(example().encode(), golden);
        assert_eq!(BootEntry::decode(golden), Some(example()));
    }

    #[test]
    fn an_entry_that_differs_in_one_fixed_byte_is_not_ours() {
        let bytes = example().encode();
        let values = PATH_AT + 4..PATH_AT + 4 + 36;
        for at in (0..bytes.len()).filter(|at| !values.contains(at)) {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            assert_eq!(BootEntry::decode(&other), None, "byte {at}");
        }
        assert_eq!(BootEntry::decode(&bytes[..BYTES - 1]), None);
        assert_eq!(BootEntry::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }
}
