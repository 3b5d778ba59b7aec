//! `casemate-qemu`: the commands behind ./qemu/demo and ./qemu/boot.

fn main() {}
