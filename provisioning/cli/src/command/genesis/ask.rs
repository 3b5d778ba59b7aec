//! `casemate genesis ask`: other custodians or another k for the root that is in use, or a next root.
//! Writes the wish into bundle.toml; a box fulfils it at `casemate genesis run`.

use std::path::PathBuf;

use casemate_formats::{
    bundle::{body::Label, source::RootSource},
    code::Code,
    share::age::parse_recipient,
};
use toml_edit::{Table, value};

use crate::{
    command::bundle::build,
    output::{Failure, Output},
    reach,
    site::{Site, edit},
    words,
};

/// Arguments of `casemate genesis ask`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    casemate genesis ask --site site --drop cyd --add dan=age1…\n  \
    casemate genesis ask --site site --threshold 3\n  \
    casemate genesis ask --site site --new-root\n\n\
    Then sign and push; `casemate genesis run` on a box that serves; `casemate share ack` by every\n\
    custodian; `casemate bundle build --next`, sign and push.")]
pub struct Command {
    /// The site's directory.
    #[arg(long, default_value = ".", value_name = "DIR")]
    site: PathBuf,
    /// Make the next root; the present one stays readable under it.
    #[arg(long)]
    new_root: bool,
    /// A custodian who leaves; once for each.
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    /// A custodian who comes, with an age recipient; once for each.
    #[arg(long, value_name = "NAME=AGE1…")]
    add: Vec<String>,
    /// How many of them shall open it.
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// Give everybody a new share, though nothing else changes (a share file was lost).
    #[arg(long)]
    again: bool,
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// There is no root yet; nothing is asked for; nobody is dropped; a name or a recipient is none.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let anything = self.new_root
            || self.again
            || self.threshold.is_some()
            || !self.drop.is_empty()
            || !self.add.is_empty();
        if !anything {
            return Err(Failure::environment("usage", "nothing is asked for")
                .expected("--new-root, --add, --drop, --threshold or --again"));
        }
        let site = Site::open(&self.site)?;
        let signed = reach::signed(&site)?;
        let root = &signed.bundle().root;
        let Some(known) = &root.established else {
            return Err(Failure::from(Code::NoRoot)
                .next("before the first genesis, change [root] in bundle.toml and build"));
        };
        let source = site.bundle_source()?.root;
        let ever = root.custodians.iter().map(|custodian| custodian.name.to_string());
        let ever: Vec<String> =
            ever.chain(source.custodian.iter().map(|c| c.name.clone())).collect();
        // Said of somebody else, it would let the one who leaves stay.
        if let Some(unknown) = self.drop.iter().find(|name| !ever.contains(name)) {
            return Err(Failure::refused(
                "no-such-custodian",
                "nobody of this name is a custodian",
            )
            .expected(source.custodian.iter().map(|c| &*c.name).collect::<Vec<_>>().join(", "))
            .found(unknown)
            .next("`--drop` takes the name that the bundle gives a custodian"));
        }
        let custodians = self.custodians(&source)?;
        let generation = known.generation + u32::from(self.new_root);
        site.edit_bundle(|document| {
            let table = edit::table(document, "root")?;
            edit::set(table, "generation", i64::from(generation));
            edit::set(table, "split", i64::from(root.split + 1));
            if let Some(threshold) = self.threshold {
                edit::set(table, "threshold", i64::from(threshold));
            }
            let list = edit::tables(table, "custodian")?;
            let listed = |entry: &Table| {
                let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
                text("name").zip(text("recipient"))
            };
            list.retain(|entry| listed(entry).is_some_and(|entry| custodians.contains(&entry)));
            for (name, recipient) in &custodians {
                let entry = (name.clone(), recipient.clone());
                if !list.iter().any(|table| listed(table).as_ref() == Some(&entry)) {
                    let mut table = Table::new();
                    table["name"] = value(name);
                    table["recipient"] = value(recipient);
                    list.push(table);
                }
            }
            Ok(())
        })?;
        let compiled = site.compile()?;
        let changes = words::changes(Some(signed.bundle()), &compiled.bundle);
        let (next, bundle) = build::after_change(&site, output);
        output.result(
            format_args!("the next bundle:\n{}\n{next}", words::list(&changes)),
            &serde_json::json!({
                "generation": generation, "split": root.split + 1, "changes": changes,
                "bundle": bundle,
            }),
        );
        Ok(())
    }

    /// Those who stay and those who come, in order.
    fn custodians(&self, source: &RootSource) -> Result<Vec<(String, String)>, Failure> {
        let mut all: Vec<(String, String)> =
            source.custodian.iter().map(|c| (c.name.clone(), c.recipient.clone())).collect();
        all.retain(|(name, _)| !self.drop.contains(name));
        for text in &self.add {
            let parsed = text.split_once('=').filter(|(name, recipient)| {
                Label::parse(name).is_some() && parse_recipient(recipient).is_ok()
            });
            let Some((name, recipient)) = parsed else {
                return Err(Failure::refused(Code::OutOfRange.slug(), "this is no custodian")
                    .expected("NAME=age1…, an age recipient (X25519)")
                    .found(text)
                    .next("`age-keygen -y IDENTITY` prints the recipient of an identity"));
            };
            match all.iter().find(|(other, _)| other == name) {
                None => all.push((name.to_owned(), recipient.to_owned())),
                Some((_, same)) if same == recipient => {}
                Some((_, other)) => {
                    return Err(Failure::refused(
                        Code::Duplicate.slug(),
                        format!("{name} is a custodian already, with another recipient"),
                    )
                    .expected(other)
                    .found(recipient)
                    .next("to replace it, also give --drop with that name"));
                }
            }
        }
        Ok(all)
    }
}
