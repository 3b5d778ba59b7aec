//! The audit log's formats: typed records, closed blocks, the tree over them, signed checkpoints.

pub mod block;
pub mod checkpoint;
pub mod record;
pub mod tree;
