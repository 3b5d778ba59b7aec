//! What happens in each drill before the runbook's lines are run, and what must hold after them.

use super::{Drill, Start};

/// Every drill, in the order of the page.
pub const DRILLS: &[Drill] = &[Drill {
    name: "first-box",
    most: 8,
    start: Start::Delivered,
    damage: |_| Ok(()),
    proof: |scene| scene.keep_token(),
}];
