//! The firmware's boot entries for ESP A and B: made once, when they are missing. A firmware that does
//! not take them starts the removable path all the same.

use std::{io, thread, time::Duration};

use casemate_formats::efi::{
    boot_entry::{BootEntry, Esp},
    partition::{self, ESP_BYTES, SECTOR},
};

use crate::platform::{
    console::{Word, say},
    efi::{self, Variables},
};

/// Asking the firmware stops every processor for a while: not while the box comes up.
const LATER: Duration = Duration::from_secs(10);
/// The thread asks, writes and ends.
const STACK_BYTES: usize = 128 * 1024;

/// Has a thread make what is missing once the box is up.
pub(super) fn make_missing_later() {
    let make = || {
        thread::sleep(LATER);
        match efi::mount() {
            Ok(variables) => {
                if let Some(esp) = variables.started_from() {
                    say(Word::Disk, format_args!("started from {}", esp.description()));
                }
                make_missing(&variables);
            }
            Err(error) => say(Word::BootEntry, format_args!("not made: {error}")),
        }
    };
    let builder = thread::Builder::new().name("boot-entries".into()).stack_size(STACK_BYTES);
    // Without the thread the firmware goes on starting the removable path.
    drop(builder.spawn(make));
}

/// Makes what is missing, and puts it first in the boot order.
fn make_missing(variables: &Variables) {
    let wanted = [Esp::A, Esp::B].map(|esp| {
        let partition = partition::of(esp);
        BootEntry {
            esp,
            partition: partition.number,
            start: partition.start,
            sectors: ESP_BYTES / SECTOR,
            guid: partition.guid.0,
        }
    });
    if let Err(error) = make(variables, &wanted) {
        say(Word::BootEntry, format_args!("not made, the firmware says: {error}"));
    }
}

fn make(variables: &Variables, wanted: &[BootEntry]) -> io::Result<()> {
    let mut present: Vec<(u16, Vec<u8>)> = Vec::new();
    for number in variables.boot_numbers()? {
        present.extend(variables.boot_entry(number)?.map(|content| (number, content)));
    }
    let mut numbers = Vec::new();
    for entry in wanted {
        let content = entry.encode();
        let same = present.iter().find(|(_, c)| *c == content).map(|(number, _)| *number);
        let number = match same {
            Some(number) => number,
            None => {
                let number = place(&present, entry.esp);
                variables.set_boot_entry(number, &content)?;
                say(
                    Word::BootEntry,
                    format_args!("Boot{number:04X} {}, made", entry.esp.description()),
                );
                present.retain(|(n, _)| *n != number);
                present.push((number, content));
                number
            }
        };
        numbers.push(number);
    }
    let order = variables.boot_order();
    // Where all stand in the order already, their place in it is somebody's decision.
    if numbers.iter().any(|number| !order.contains(number)) {
        let others = order.iter().filter(|number| !numbers.contains(number));
        let order: Vec<u16> = numbers.iter().chain(others).copied().collect();
        variables.set_boot_order(&order)?;
    }
    Ok(())
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
        make_missing(&variables);
        assert_eq!(variables.boot_order(), [1, 2, 0]);
        assert_eq!((entry(&variables, 1).esp, entry(&variables, 2).esp), (Esp::A, Esp::B));
        variables.set_boot_order(&[2, 1, 0]).expect("written");
        make_missing(&variables);
        assert_eq!(variables.boot_order(), [2, 1, 0], "an order that names all is left alone");
        assert_eq!(variables.boot_numbers().expect("read"), [0, 1, 2]);
    }

    #[test]
    fn an_entry_for_another_place_of_the_same_esp_is_replaced() {
        let (_folder, variables) = firmware();
        let stale = BootEntry { esp: Esp::B, partition: 9, start: 1, sectors: 1, guid: [8; 16] };
        variables.set_boot_entry(1, &stale.encode()).expect("written");
        make_missing(&variables);
        assert_eq!(variables.boot_numbers().expect("read"), [0, 1, 2]);
        assert_eq!(entry(&variables, 1).guid, partition::of(Esp::B).guid.0);
        assert_eq!(entry(&variables, 2).esp, Esp::A);
    }
}
