//! The machine: console, watchdog, network, EFI, clock, power, sandbox.
