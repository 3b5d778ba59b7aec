//! Every drill: its name on the page, what is promised, and where its play is written.

use super::{Drill, Start, boxes, images, people};

/// In the order of the page.
pub const DRILLS: &[Drill] = &[
    Drill { name: "first-box", most: 6, start: Start::Delivered, play: boxes::first },
    Drill { name: "second-box", most: 4, start: Start::One, play: boxes::second },
    Drill { name: "box-lost", most: 4, start: Start::Two, play: boxes::lost },
    Drill { name: "box-retired", most: 2, start: Start::Two, play: boxes::retired },
    Drill { name: "disk-lost", most: 4, start: Start::Two, play: boxes::disk_lost },
    Drill { name: "tpm-cleared", most: 4, start: Start::Two, play: boxes::tpm_cleared },
    Drill { name: "not-sealed", most: 1, start: Start::Two, play: boxes::not_sealed },
    Drill { name: "firmware-update", most: 5, start: Start::Two, play: boxes::firmware_update },
    Drill { name: "all-boxes-lost", most: 6, start: Start::Two, play: boxes::all_lost },
    Drill { name: "all-boxes-blank", most: 6, start: Start::Two, play: boxes::all_blank },
    Drill { name: "custodian-leaves", most: 5, start: Start::One, play: people::custodian_leaves },
    Drill { name: "root-disclosed", most: 7, start: Start::Two, play: people::root_disclosed },
    Drill { name: "signer-leaves", most: 8, start: Start::One, play: people::signer_leaves },
    Drill { name: "signers-lost", most: 9, start: Start::One, play: people::signers_lost },
    Drill { name: "db-key-changes", most: 10, start: Start::One, play: people::db_key_changes },
    Drill { name: "db-key-lost", most: 8, start: Start::One, play: people::db_key_lost },
    Drill { name: "repository-lost", most: 2, start: Start::One, play: people::repository_lost },
    Drill { name: "wrong-bundle", most: 2, start: Start::One, play: boxes::wrong_bundle },
    Drill { name: "wrong-address", most: 3, start: Start::Two, play: boxes::wrong_address },
    Drill { name: "image-update", most: 4, start: Start::Two, play: images::update },
    Drill { name: "bad-image", most: 2, start: Start::One, play: images::bad },
];
