//! A site from an empty directory to a root that every custodian acknowledged, through the command
//! line alone; and what is refused on the way, by name. The box is one in software.

// Helpers here are not tests themselves, so the allowance for unwrap in tests does not reach them.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../../formats/tests/request/box_in_software.rs"]
mod box_in_software;
#[allow(dead_code)]
#[path = "../../../../tests/src/firmware_log.rs"]
mod firmware_log;

mod custody;
mod life;
mod refusals;
mod workbench;
