//! PID 1: the boot story.
fn main() {}
