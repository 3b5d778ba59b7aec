//! Who may do what: turns (client, operation, keyring, context, now) into a `Permit` or a refusal.
