//! The three partitions of an appliance's disk (GPT, 512-byte sectors): where they lie and how the
//! firmware recognises them. Written by `image`, read by PID 1.

use crate::efi::{Guid, boot_entry::Esp};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Bytes of each ESP; hashed whole, so it is the same on every disk.
pub const ESP_BYTES: u64 = 64 * 1024 * 1024;
/// The smallest `state`: three slots of 1 MiB, header, crash sector, tail blocks and a ring of 4 MiB.
pub const STATE_MIN_BYTES: u64 = 8 * 1024 * 1024;

/// One partition: everything but the length of `state`, which fills the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Partition name, as the kernel shows it (`PARTNAME=` in the block device's uevent).
    pub name: &'static str,
    /// Partition type.
    pub kind: Guid,
    /// Unique GUID, the same on every disk (`PARTUUID=`, LoaderDevicePartUUID, boot entries).
    pub guid: Guid,
    /// First sector.
    pub start: u64,
}

/// EFI System Partition (UEFI 2.10, 5.3.3).
const ESP: Guid =
    Guid::new(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
/// Casemate's own type: no other system mounts or formats it by itself.
const STATE_KIND: Guid =
    Guid::new(0x7a1e_c0de, 0x5a11, 0x4c0f, [0x8c, 0xa5, 0xe3, 0xa7, 0xe5, 0x7a, 0x7e, 0x00]);
const FIRST: u64 = 2_048;
const ESP_SECTORS: u64 = ESP_BYTES / SECTOR;

/// ESP A.
pub const ESP_A: Partition = Partition {
    number: 1,
    name: "casemate-a",
    kind: ESP,
    guid: Guid::new(0x7a1e_c0de, 0x5a11, 0x4c0f, [0x8c, 0xa5, 0xe3, 0xa7, 0xe5, 0x7a, 0x7e, 0x0a]),
    start: FIRST,
};
/// ESP B.
pub const ESP_B: Partition = Partition {
    number: 2,
    name: "casemate-b",
    kind: ESP,
    guid: Guid::new(0x7a1e_c0de, 0x5a11, 0x4c0f, [0x8c, 0xa5, 0xe3, 0xa7, 0xe5, 0x7a, 0x7e, 0x0b]),
    start: FIRST + ESP_SECTORS,
};
/// `state`: raw, slots and audit ring.
pub const STATE: Partition = Partition {
    number: 3,
    name: "casemate-state",
    kind: STATE_KIND,
    guid: Guid::new(0x7a1e_c0de, 0x5a11, 0x4c0f, [0x8c, 0xa5, 0xe3, 0xa7, 0xe5, 0x7a, 0x7e, 0x05]),
    start: FIRST + 2 * ESP_SECTORS,
};

/// The partition of an ESP.
#[must_use]
pub const fn of(esp: Esp) -> Partition {
    match esp {
        Esp::A => ESP_A,
        Esp::B => ESP_B,
    }
}

/// The ESP that LoaderDevicePartUUID names (either case), or `None`: booted from somewhere else.
#[must_use]
pub fn esp_of(part_uuid: &str) -> Option<Esp> {
    let wanted = part_uuid.to_ascii_lowercase();
    [Esp::A, Esp::B].into_iter().find(|esp| of(*esp).guid.to_string() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_side_by_side_and_are_told_apart() {
        assert_eq!(ESP_A.start * SECTOR + ESP_BYTES, ESP_B.start * SECTOR);
        assert_eq!(ESP_B.start * SECTOR + ESP_BYTES, STATE.start * SECTOR);
        assert_eq!(esp_of(&ESP_B.guid.to_string().to_uppercase()), Some(Esp::B));
        assert_eq!(esp_of(&STATE.guid.to_string()), None);
    }

    #[test]
    fn a_guid_is_shown_as_uefi_shows_it() {
        assert_eq!(ESP.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(ESP.0[..4], [0x28, 0x73, 0x2a, 0xc1]);
    }
}
