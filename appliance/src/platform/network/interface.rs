//! Which network interface is the box's: by its MAC address, or the first that has a carrier.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the kernel lists interfaces.
pub const SYSFS: &str = "/sys/class/net";

/// ARPHRD_ETHER of `<linux/if_arp.h>`.
const ETHERNET: &str = "1";

/// A physical (or virtual machine's) Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    folder: PathBuf,
}

impl Interface {
    /// Whether a cable is in it and the other end is there. False while the interface is off.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        attribute(&self.folder, "carrier").is_some_and(|text| text == "1")
    }

    /// The interface of this name, whatever kind it is.
    #[must_use]
    pub fn named(sysfs: &Path, name: &str) -> Option<Self> {
        read(&sysfs.join(name))
    }
}

/// All Ethernet interfaces that stand on a device (loopback, bonds and the like do not), by number.
///
/// # Errors
/// sysfs's.
pub fn all(sysfs: &Path) -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sysfs)? {
        let folder = entry?.path();
        let ethernet = attribute(&folder, "type").is_some_and(|kind| kind == ETHERNET);
        if ethernet && folder.join("device").exists() {
            found.extend(read(&folder));
        }
    }
    found.sort_by_key(|interface| interface.index);
    Ok(found)
}

fn read(folder: &Path) -> Option<Interface> {
    Some(Interface {
        name: folder.file_name()?.to_str()?.to_owned(),
        index: attribute(folder, "ifindex")?.parse().ok()?,
        mac: parse_mac(&attribute(folder, "address")?)?,
        folder: folder.to_owned(),
    })
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok().map(|text| text.trim_end().to_owned())
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// A MAC address as people write it.
#[must_use]
pub fn show_mac(mac: &[u8; 6]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_and_bonds_are_no_interfaces_of_the_box() {
        let root = tempfile::tempdir().expect("a folder");
        for (name, kind, index, device) in [
            ("lo", "772", 1, false),
            ("bond0", "1", 2, false),
            ("eth1", "1", 4, true),
            ("eth0", "1", 3, true),
        ] {
            let folder = root.path().join(name);
            fs::create_dir(&folder).expect("folder");
            fs::write(folder.join("type"), format!("{kind}\n")).expect("type");
            fs::write(folder.join("ifindex"), format!("{index}\n")).expect("ifindex");
            fs::write(folder.join("address"), "52:54:00:12:34:56\n").expect("address");
            if device {
                fs::create_dir(folder.join("device")).expect("device");
            }
        }
        fs::write(root.path().join("eth1/carrier"), "1\n").expect("carrier");
        let found = all(root.path()).expect("read");
        let names: Vec<&str> = found.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
        assert!(!found[0].has_carrier() && found[1].has_carrier());
        assert_eq!(show_mac(&found[0].mac), "52:54:00:12:34:56");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_mac_parser_panic(text in "\\PC*") {
            let _ = parse_mac(&text);
        }
    }
}
