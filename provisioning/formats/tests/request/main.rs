//! Requests and genesis answers, good and bad, each refused by its code; and no bytes that make a
//! parser panic.

// Helpers here are not tests themselves, so the allowance for unwrap in tests does not reach them.
#![allow(clippy::unwrap_used)]

// Shared with the host composition in `tests`, which also sends its extends to swtpm.
#[allow(dead_code)]
#[path = "../../../../tests/src/firmware_log.rs"]
mod firmware_log;

mod answers;
mod box_in_software;
mod bytes;
mod recorded;
mod requests;
