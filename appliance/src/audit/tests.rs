//! Tests of the log on a disk in memory.
use casemate_core::root::{Chain, Root, fingerprint};
use casemate_formats::{
    audit::record::Origin,
    bundle::body::{Established, Label},
};

/// A chain of one generation.
pub(super) fn chain(root: Root) -> Chain {
    let namespace = Label::parse("test").expect("a name");
    let established = Established {
        generation: 1,
        fingerprint: fingerprint(&root, 1, &namespace),
        commitments: heapless::Vec::new(),
        acks: heapless::Vec::new(),
        authorities: Vec::new(),
        serving: 1,
        wrapped: Vec::new(),
    };
    Chain::open(root, &established, &namespace).expect("the fingerprint is its own")
}

pub(super) fn origin() -> Origin {
    Origin {
        namespace: Label::parse("test").expect("a name"),
        host: Label::parse("box-1").expect("a name"),
    }
}
