//! UEFI's formats as far as Casemate writes or checks them.

pub mod authenticode;
pub mod boot_entry;
pub mod variable;
