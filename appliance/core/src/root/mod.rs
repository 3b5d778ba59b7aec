//! The root key: fingerprint, chain of generations, wrapping of the former one.
