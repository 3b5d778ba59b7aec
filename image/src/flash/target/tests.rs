//! Every refusal, on trees that look like `/sys` and `/proc` of a machine with three disks: `sda` runs
//! the system (root in LVM on sda2), `sdb` is free with one old partition, `nvme0n1` has swap.

use std::os::unix::fs::symlink;

use super::*;

struct Trees {
    folder: tempfile::TempDir,
}

const GIB: u64 = 1 << 30;

impl Trees {
    fn new() -> Self {
        let trees = Self { folder: tempfile::tempdir().unwrap() };
        trees.disk("sda", "8:0", &[("sda1", "8:1"), ("sda2", "8:2")]);
        trees.disk("sdb", "8:16", &[("sdb1", "8:17")]);
        trees.disk("nvme0n1", "259:0", &[("nvme0n1p1", "259:1")]);
        trees.disk("dm-0", "254:0", &[]);
        trees.write("sys/block/dm-0/slaves/sda2/dev", "8:2");
        trees.write("sys/block/sda/sda2/holders/dm-0/dev", "254:0");
        trees.mounts(&[("254:0", "/", "/dev/mapper/vg-root"), ("8:1", "/boot", "/dev/sda1")]);
        trees.write(
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/nvme0n1p1 partition 8 0 -2\n",
        );
        trees
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn disk(&self, name: &str, number: &str, partitions: &[(&str, &str)]) {
        let at = |file: &str| format!("sys/block/{name}/{file}");
        self.write(&at("dev"), number);
        self.write(&at("size"), &(8 * GIB / 512).to_string());
        self.write(&at("ro"), "0");
        self.write(&at("queue/logical_block_size"), "512");
        self.write(&at("device/vendor"), "ACME");
        self.write(&at("device/model"), "Disk 8");
        self.write(&at("device/serial"), &format!("S-{name}"));
        let devices = self.folder.path().join("sys/dev/block");
        fs::create_dir_all(&devices).unwrap();
        symlink(format!("../../block/{name}"), devices.join(number)).unwrap();
        for (place, (partition, number)) in partitions.iter().enumerate() {
            self.write(&at(&format!("{partition}/dev")), number);
            self.write(&at(&format!("{partition}/partition")), &(place + 1).to_string());
            symlink(format!("../../block/{name}/{partition}"), devices.join(number)).unwrap();
        }
    }

    fn mounts(&self, mounts: &[(&str, &str, &str)]) {
        let lines = mounts.iter().map(|(number, mount, source)| {
            format!("36 35 {number} / {mount} rw,noatime shared:1 - ext4 {source} rw")
        });
        self.write("proc/self/mountinfo", &lines.collect::<Vec<_>>().join("\n"));
    }

    fn look(&self, number: (u64, u64)) -> Result<Disk, Refused> {
        let (sys, proc) = (self.folder.path().join("sys"), self.folder.path().join("proc"));
        look_at_disk(number, Roots { sys: &sys, proc: &proc })
    }

    fn refusal(&self, number: (u64, u64)) -> String {
        self.look(number).unwrap_err().to_string()
    }
}

const SDA: (u64, u64) = (8, 0);
const SDB: (u64, u64) = (8, 16);
const NVME: (u64, u64) = (259, 0);

#[test]
fn a_free_disk_is_described_as_a_person_tells_it_from_others() {
    let disk = Trees::new().look(SDB).unwrap();
    assert_eq!((disk.name.as_str(), disk.model.as_str()), ("sdb", "ACME Disk 8"));
    assert_eq!((disk.serial.as_str(), disk.bytes), ("S-sdb", 8 * GIB));
    assert_eq!(disk.partitions, ["sdb1"]);
}

#[test]
fn the_running_systems_disk_is_refused_also_below_lvm() {
    let trees = Trees::new();
    assert!(trees.refusal(SDA).starts_with("system-disk: sda2 holds /"), "{}", trees.refusal(SDA));
    trees.mounts(&[("8:1", "/boot", "/dev/sda1")]);
    assert!(trees.refusal(SDA).starts_with("system-disk: sda1 holds /boot"));
}

#[test]
fn a_mounted_partition_is_refused_by_number_and_by_name() {
    let trees = Trees::new();
    trees.mounts(&[("8:17", "/media/stick", "/dev/root")]);
    assert!(trees.refusal(SDB).starts_with("mounted: sdb1 is mounted at /media/stick"));
    // btrfs shows a number of its own.
    trees.mounts(&[("0:42", "/media/stick", "/dev/sdb1")]);
    assert!(trees.refusal(SDB).starts_with("mounted: sdb1"));
    trees.mounts(&[("0:42", "/media/stick", "/dev/sdb10")]);
    assert!(trees.look(SDB).is_ok(), "another device whose name begins alike");
}

#[test]
fn swap_and_holders_are_refused() {
    let trees = Trees::new();
    assert!(trees.refusal(NVME).starts_with("swap: nvme0n1p1"));
    trees.mounts(&[("0:1", "/proc", "proc")]);
    assert_eq!(
        trees.refusal(SDA),
        "in-use: sda2 is held by dm-0: take that down if it is the right disk"
    );
}

#[test]
fn a_partition_a_write_protected_a_too_small_and_a_4k_disk_are_refused() {
    let trees = Trees::new();
    assert!(trees.refusal((8, 17)).starts_with("partition: "));
    trees.write("sys/block/sdb/ro", "1");
    assert!(trees.refusal(SDB).starts_with("read-only: "));
    trees.write("sys/block/sdb/ro", "0");
    trees.write("sys/block/sdb/queue/logical_block_size", "4096");
    assert!(trees.refusal(SDB).starts_with("sector-size: "));
    trees.write("sys/block/sdb/queue/logical_block_size", "512");
    trees.write("sys/block/sdb/size", "200000");
    assert!(trees.refusal(SDB).starts_with("too-small: "));
    assert!(trees.refusal((8, 99)).starts_with("cannot look at "));
}

#[test]
fn what_is_no_disk_and_a_short_file_are_refused_and_a_missing_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots { sys: Path::new("/sys"), proc: Path::new("/proc") };
    let refused = look(folder.path(), roots).unwrap_err().to_string();
    assert!(refused.starts_with("not-a-disk: "), "{refused}");
    assert_eq!(look(&folder.path().join("new.img"), roots).unwrap(), Target::New);
    let short = folder.path().join("short.img");
    fs::write(&short, [0; 4096]).unwrap();
    assert!(look(&short, roots).unwrap_err().to_string().starts_with("too-small: "));
}
