//! People who leave, keys and papers that are lost.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Block, Scene, boxes::starts_without_hands};
use crate::{people::NEWCOMER, tools, world::BOOT};

/// One custodian leaves, another comes: the next recovery is by the new shares alone.
pub fn custodian_leaves(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    let people = scene.world.people();
    let old = fs::read(scene.world.at("people").join(share_name("dora", 1)))?;
    people.add_custodian(NEWCOMER)?;
    scene.words.insert("NAME", "fay".to_owned());
    scene.words.insert("NEWNAME", NEWCOMER.to_owned());
    scene.words.insert("RECIPIENT", people.recipient(NEWCOMER)?);
    scene.custodians = vec!["dora", "emil", NEWCOMER];
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;

    // The machine is lost: the new split opens the root, an old share is refused by name.
    scene.custodians = vec![NEWCOMER, "emil"];
    scene.new_disk("alpha")?;
    scene.clear_tpm("alpha")?;
    let rebuild = super::lines_of("all-boxes-blank")?;
    let request = rebuild.iter().position(|line| line.text.starts_with("casemate share seal"));
    let (before, after) = rebuild.split_at(request.context("the page has no share seal")?);
    scene.run(before)?;
    fs::write(scene.world.at("people/old.share.age"), old)?;
    scene.refused(
        "dora",
        "casemate share seal alpha.request --share ../people/old.share.age --identity ../people/dora.age -o old.sealed",
        "wrong-split",
    )?;
    scene.run(after)?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

/// A next root: both boxes read old tokens, and new tokens are of the new root's version.
pub fn root_disclosed(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("beta", "alpha");
    scene.run(&page[0])?;
    for host in ["alpha", "beta"] {
        scene.reads_old_token(host)?;
    }
    scene.run(&page[1])?;
    for host in ["alpha", "beta"] {
        starts_without_hands(scene, host)?;
    }
    let new = scene.world.encrypt("alpha", super::VALUE)?;
    let token = new["token"].as_str().context("a token")?;
    ensure!(token.starts_with("cm1.pii.2."), "a new token is of the new root's version: {token}");
    scene.world.decrypt("beta", &new, super::VALUE)
}

/// Ann leaves, a newcomer signs: an image with other anchors, a bundle signed by both sets.
pub fn signer_leaves(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    scene.world.people().add_operator(NEWCOMER)?;
    scene.words.insert("OLDKEY", "../people/ann".to_owned());
    scene.words.insert("NEWKEY", format!("../people/{NEWCOMER}"));
    scene.words.insert("IMAGE", "../image-2".to_owned());
    // Ben and Cem are signers of both sets.
    scene.signers = vec!["ben", "cem"];
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    // From now on the newcomer's signature counts.
    scene.signers = vec![NEWCOMER, "cem"];
    scene.publish()?;
    starts_without_hands(scene, "alpha")
}

/// Nobody who signed is left.
pub fn signers_lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    scene.world.people().add_operator(NEWCOMER)?;
    scene.words.insert("NEWKEY", format!("../people/{NEWCOMER}"));
    scene.words.insert("IMAGE", "../image-2".to_owned());
    scene.signers = vec![NEWCOMER];
    scene.signers_needed = 1;
    scene.new_disk("alpha")?;
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

/// Another key for images: the firmware's db gets its certificate from a box that an image told of it, and
/// then an image starts that nothing but the new key has signed.
pub fn db_key_changes(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    scene.words.insert("IMAGE", "../image-2".to_owned());
    scene.words.insert("NEXTIMAGE", "../image-3".to_owned());
    let (new_key, image) = page[0].split_at(1);
    scene.run(new_key)?;
    let former = former_key(&scene.world.at("site/private"))?;
    scene.words.insert("FORMERKEY", format!("private/{former}.key"));
    scene.words.insert("FORMERCERT", format!("secure-boot/{former}.crt"));
    scene.run(image)?;
    scene.reads_old_token("alpha")?;
    let enrolled = "enrolled db, with the site's newest certificate";
    scene.world.machine("alpha")?.serial.wait(enrolled, BOOT)?;
    starts_without_hands(scene, "alpha")?;

    scene.world.make_other_image("image-3", None)?;
    scene.run(&page[1])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")?;
    let console = scene.world.machine("alpha")?.serial.text();
    let id = scene.world.image_id("image-3")?.short();
    ensure!(console.contains(&id), "alpha does not run the image {id} of the new key:\n{console}");
    Ok(())
}

/// The name under which `site new-db` kept the key of before.
fn former_key(folder: &Path) -> Result<String> {
    let names =
        fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut kept = names.filter(|name| name.starts_with("db-") && name.ends_with(".key"));
    let name = kept.next().context("the former key was not kept")?;
    Ok(name.trim_end_matches(".key").to_owned())
}

/// Nobody can sign images any more: another key, and a machine that takes its certificate in set-up mode.
pub fn db_key_lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    fs::remove_file(scene.world.at("site/private/db.key"))?;
    scene.words.insert("IMAGE", "../image-2".to_owned());
    scene.new_disk("alpha")?;
    scene.run(&page[0])?;
    scene.reads_old_token("alpha")?;
    starts_without_hands(scene, "alpha")
}

/// The directory is lost, and comes back from a box, and from a custodian's share file.
pub fn repository_lost(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    let lost = scene.world.at("site-before");
    fs::rename(scene.world.at("site"), &lost)?;
    fs::create_dir(scene.world.at("site"))?;
    for (block, name) in page.iter().zip(["from-box", "from-share"]) {
        let site = scene.world.at(name);
        scene.words.insert("NEWSITE", site.display().to_string());
        scene.custodians = vec!["emil", "fay"];
        scene.run(block)?;
        let mut compare = Command::new("diff");
        let newest = |site: &Path| -> Result<std::path::PathBuf> {
            let mut all: Vec<_> = fs::read_dir(site.join("bundles"))?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            all.sort();
            all.pop().context("a bundle")
        };
        // A custodian's file holds the newest bundle that this custodian saw: an older one.
        if name == "from-box" {
            compare.arg(newest(&lost)?).arg(newest(&site)?);
            tools::output(&mut compare).context("another bundle came back")?;
        }
    }
    // What came back is the site from now on: what clients trust is written by the next build.
    fs::remove_dir_all(scene.world.at("site"))?;
    fs::rename(scene.world.at("from-box"), scene.world.at("site"))?;
    scene.type_in("ops", "casemate bundle build")?;
    scene.reads_old_token("alpha")
}

fn share_name(custodian: &str, split: u32) -> String {
    format!("demo-1-{split}-{custodian}.share.age")
}
