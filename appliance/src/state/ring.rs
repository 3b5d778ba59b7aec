//! Where the audit log's blocks lie: two tail places for the open block, and the ring of closed ones.

use std::sync::Arc;

use super::Blocks;

/// The log's part of the partition.
#[derive(Clone)]
pub struct Ring {
    pub(crate) blocks: Arc<dyn Blocks>,
    pub(crate) tail: u64,
    pub(crate) first: u64,
    pub(crate) units: u64,
}
