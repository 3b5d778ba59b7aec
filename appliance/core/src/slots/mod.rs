//! Which slot of `state` is live, which is written next, what a boot does: plans, no effects.
