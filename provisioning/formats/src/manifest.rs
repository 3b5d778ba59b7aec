//! The manifest of an image: hashes, PCR 11, versions; what `host` and `bundle` take images from.
