//! The disk as mtools, sgdisk and our own reader see it.

use std::process::Command;

use super::*;

fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap_or_else(|_| panic!("{program} is missing: `image/prepare` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}{errors}");
    text
}

fn uki() -> Vec<u8> {
    (0..6_500_001_u32).map(|n| n.to_le_bytes()[usize::from(n % 7 == 0)]).collect()
}

#[test]
fn the_esp_holds_the_boot_file_as_mtools_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (image, copy) = (folder.path().join("esp.img"), folder.path().join("copy.efi"));
    std::fs::write(&image, esp(&uki()).unwrap()).unwrap();
    let (image, copy) = (image.to_str().unwrap(), copy.to_str().unwrap());
    let list = tool("mdir", &["-/", "-b", "-i", image, "::/"]);
    assert_eq!(
        list.lines().collect::<Vec<_>>(),
        ["::/EFI/", "::/EFI/BOOT/", "::/EFI/BOOT/BOOTX64.EFI"]
    );
    tool("mcopy", &["-n", "-i", image, "::/EFI/BOOT/BOOTX64.EFI", copy]);
    assert!(std::fs::read(copy).unwrap() == uki());
    tool("fsck.fat", &["-n", image]);
}

#[test]
fn the_same_uki_gives_the_same_esp_and_disk() {
    assert!(esp(&uki()).unwrap() == esp(&uki()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let disks = ["one", "two"].map(|name| {
        let file = folder.path().join(name);
        create(&file, STATE_MIN_BYTES, &esp(&uki()).unwrap()).unwrap();
        std::fs::read(file).unwrap()
    });
    assert!(disks[0] == disks[1]);
}

#[test]
fn the_disk_has_the_three_partitions_and_gives_the_uki_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk.img");
    create(&file, 32 << 20, &esp(&uki()).unwrap()).unwrap();
    let text = tool("sgdisk", &["--print", file.to_str().unwrap()]);
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    assert!(lines[0].contains("270336") || lines[0].contains("264192"), "{text}");
    for (line, name) in lines.iter().zip(["casemate-state", "casemate-b", "casemate-a"]) {
        assert!(line.ends_with(name), "{text}");
    }
    assert!(tool("sgdisk", &["--verify", file.to_str().unwrap()]).contains("No problems found"));
    let esps = read_esps(&mut File::open(&file).unwrap()).unwrap();
    assert!(esps[0] == esps[1] && uki_of(&esps[0]).unwrap() == uki());
}

#[test]
fn a_uki_that_does_not_fit_and_a_disk_too_small_are_refused() {
    assert!(esp(&vec![1; 65 << 20]).is_err());
    let folder = tempfile::tempdir().unwrap();
    let mut small = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(folder.path().join("small"))
        .unwrap();
    small.set_len(100 << 20).unwrap();
    let refusal = write(&mut small, &esp(b"MZ").unwrap()).unwrap_err().to_string();
    assert!(refusal.contains("at least"), "{refusal}");
    assert!(read_esps(&mut small).is_err());
}

#[test]
fn an_esp_that_differs_anywhere_is_not_ours() {
    let good = esp(&uki()).unwrap();
    assert!(uki_of(&good).unwrap() == uki());
    for at in [0, 40, 512, 40_000, 1_050_000, good.len() - 1] {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(uki_of(&other).is_err(), "byte {at}");
    }
    assert!(uki_of(&good[..1 << 20]).is_err());
}
