//! The life of a box: the sole joiner of slots, seal and counter (`open`, `accept`, `genesis`,
//! `retire`). Boot and endpoints call it; so do `tests/host` and the crash tests.
