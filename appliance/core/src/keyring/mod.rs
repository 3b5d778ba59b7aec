//! Keys and tokens: derivation, XAES-256-GCM, what Rails stores.
