//! TOML as ops write it, compiled to a bundle (workstation only).
