//! What the firmware starts: its entries for ESP A and B, its order, and what it starts once. Entries
//! that are missing are made; a firmware that does not take them starts the removable path all the same.

use std::io;

use casemate_core::update::Standing;
use casemate_formats::efi::{
    boot_entry::{BootEntry, Esp},
    partition::{self, ESP_BYTES, SECTOR},
};

use crate::platform::{
    console::{Word, say},
    efi::Variables,
};

/// Makes what is missing, puts it first in the order, and says how things stand. `None`: this image was
/// started from somewhere else than the two ESPs.
///
/// # Errors
/// The firmware's.
pub fn standing(variables: &Variables) -> io::Result<Option<Standing>> {
    let entries = make_missing(variables)?;
    let order = variables.boot_order();
    Ok(variables.started_from().map(|running| Standing { running, entries, order }))
}

fn make_missing(variables: &Variables) -> io::Result<[u16; 2]> {
    let mut present: Vec<(u16, Vec<u8>)> = Vec::new();
    for number in variables.boot_numbers()? {
        present.extend(variables.boot_entry(number)?.map(|content| (number, content)));
    }
    let a = make(variables, &mut present, Esp::A)?;
    let b = make(variables, &mut present, Esp::B)?;
    let order = variables.boot_order();
    // Where both stand in the order already, their place in it is somebody's decision.
    if [a, b].iter().any(|number| !order.contains(number)) {
        let others = order.iter().filter(|number| ![a, b].contains(*number));
        let order: Vec<u16> = [a, b].iter().chain(others).copied().collect();
        variables.set_boot_order(&order)?;
    }
    Ok([a, b])
}

fn make(variables: &Variables, present: &mut Vec<(u16, Vec<u8>)>, esp: Esp) -> io::Result<u16> {
    let partition = partition::of(esp);
    let entry = BootEntry {
        esp,
        partition: partition.number,
        start: partition.start,
        sectors: ESP_BYTES / SECTOR,
        guid: partition.guid.0,
    };
    let content = entry.encode();
    if let Some((number, _)) = present.iter().find(|(_, found)| *found == content) {
        return Ok(*number);
    }
    let number = place(present, esp);
    variables.set_boot_entry(number, &content)?;
    say(Word::BootEntry, format_args!("Boot{number:04X} {}, made", esp.description()));
    present.retain(|(n, _)| *n != number);
    present.push((number, content));
    Ok(number)
}

/// The number of an entry of ours for the same ESP of another disk, or the lowest free one.
fn place(present: &[(u16, Vec<u8>)], esp: Esp) -> u16 {
    let stale = |content: &Vec<u8>| BootEntry::decode(content).is_some_and(|e| e.esp == esp);
    present.iter().find(|(_, content)| stale(content)).map_or_else(
        || (0..=u16::MAX).find(|n| present.iter().all(|(p, _)| p != n)).unwrap_or(u16::MAX),
        |(number, _)| *number,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firmware() -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().expect("a folder");
        let variables = Variables::new(folder.path());
        variables.set_boot_entry(0, b"the firmware's own").expect("written");
        variables.set_boot_order(&[0]).expect("written");
        (folder, variables)
    }

    fn entry(variables: &Variables, number: u16) -> BootEntry {
        let content = variables.boot_entry(number).expect("read").expect("there");
        BootEntry::decode(&content).expect("one of ours")
    }

    #[test]
    fn missing_entries_are_made_once_and_come_first() {
        let (_folder, variables) = firmware();
        assert_eq!(make_missing(&variables).expect("made"), [1, 2]);
        assert_eq!(variables.boot_order(), [1, 2, 0]);
        assert_eq!((entry(&variables, 1).esp, entry(&variables, 2).esp), (Esp::A, Esp::B));
        variables.set_boot_order(&[2, 1, 0]).expect("written");
        assert_eq!(make_missing(&variables).expect("there"), [1, 2]);
        assert_eq!(variables.boot_order(), [2, 1, 0], "an order that names all is left alone");
        assert_eq!(variables.boot_numbers().expect("read"), [0, 1, 2]);
    }

    #[test]
    fn an_entry_for_another_place_of_the_same_esp_is_replaced() {
        let (_folder, variables) = firmware();
        let stale = BootEntry { esp: Esp::B, partition: 9, start: 1, sectors: 1, guid: [8; 16] };
        variables.set_boot_entry(1, &stale.encode()).expect("written");
        make_missing(&variables).expect("made");
        assert_eq!(variables.boot_numbers().expect("read"), [0, 1, 2]);
        assert_eq!(entry(&variables, 1).guid, partition::of(Esp::B).guid.0);
        assert_eq!(entry(&variables, 2).esp, Esp::A);
    }
}
