//! What clients were answered, held against the log by the project's own outside verifier: `casemate
//! audit follow` collects and verifies, `audit verify` checks again offline, `audit show` lists.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{tools, world::World};

/// Answers that have yet to be checked.
pub(super) struct Answered {
    run: String,
    loads: u32,
    items: Vec<String>,
    bundles: Vec<u64>,
    checked: u64,
}

impl Answered {
    /// None yet; `run` begins all ids.
    pub(super) fn new(run: &str) -> Self {
        let run = run.to_owned();
        Self { run, loads: 0, items: Vec::new(), bundles: Vec::new(), checked: 0 }
    }

    /// What the ids of the next load begin with.
    pub(super) fn next_ids(&mut self) -> String {
        self.loads += 1;
        format!("{}-{}", self.run, self.loads)
    }

    pub(super) fn items(&mut self, ids: Vec<String>) {
        self.items.extend(ids);
    }

    pub(super) fn bundle(&mut self, seq: u64) {
        self.bundles.push(seq);
    }

    /// Items and bundles so far.
    pub(super) fn count(&self) -> usize {
        self.items.len() + self.bundles.len()
    }

    /// How many were checked since this was last asked.
    pub(super) fn take_checked(&mut self) -> u64 {
        std::mem::take(&mut self.checked)
    }

    /// Collects the log of a box that serves; gives what was answered and stands in no record.
    pub(super) fn check(&mut self, world: &mut World, host: &str) -> Result<Vec<String>> {
        let address = world.address(host)?;
        let casemate = |arguments: &[&str]| {
            let mut command = world.tools().casemate();
            tools::output(command.args(arguments).current_dir(world.at(".")))
        };
        let reach = ["--site", "site", "--host", host, "--address", &address];
        let collect = ["--client", "people/auditor", "--into", "audit", "--once"];
        casemate(&[&["audit", "follow"], &reach[..], &collect].concat())?;
        casemate(&["audit", "verify", "audit"])?;
        let shown = casemate(&["audit", "show", "audit"])?;

        let (mut requests, mut bundles) = (BTreeSet::new(), BTreeSet::new());
        for line in shown.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let event = &line["record"]["event"];
            if let Some(request) = event["Item"]["request"].as_str() {
                requests.insert(request.to_owned());
            }
            if let Some(seq) = event["BundleAccepted"]["seq"].as_u64() {
                bundles.insert(seq);
            }
        }
        self.checked += self.count() as u64;
        let items = std::mem::take(&mut self.items);
        let mut lost: Vec<String> = items.into_iter().filter(|id| !requests.contains(id)).collect();
        let missing = std::mem::take(&mut self.bundles);
        lost.extend(
            missing.into_iter().filter(|n| !bundles.contains(n)).map(|n| format!("bundle {n}")),
        );
        Ok(lost)
    }
}
