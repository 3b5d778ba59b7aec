//! New images: a fleet that is moved to one, and one that does not come up.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{Block, Scene, boxes::starts_without_hands};

/// A fleet of two takes a new image, one box after the other.
pub fn update(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "beta");
    scene.world.make_other_image("image-2", None)?;
    scene.words.insert("IMAGE", "../image-2".to_owned());
    scene.run(&page[0])?;
    for host in ["alpha", "beta"] {
        scene.reads_old_token(host)?;
        starts_without_hands(scene, host)?;
        let console = scene.world.machine(host)?.serial.text();
        let id = scene.world.image_id("image-2")?.short();
        ensure!(console.contains(&id), "{host} does not run the new image {id}:\n{console}");
    }
    Ok(())
}

/// An image whose PID 1 fails: the box comes back by itself on the old one.
pub fn bad(scene: &mut Scene, page: &[Block]) -> Result<()> {
    scene.about("alpha", "alpha");
    scene.world.make_other_image("image-bad", Some(Path::new("/bin/false")))?;
    scene.type_in("ops", "casemate bundle add-image ../image-bad/manifest.json")?;
    scene.publish()?;
    scene.refused("ops", "casemate update ../image-bad --rolling", "fell-back")?;
    scene.reads_old_token("alpha")?;
    unlist(scene, "image-bad")?;
    scene.run(&page[0])?;
    starts_without_hands(scene, "alpha")
}

/// Takes an image out of `images.toml`.
fn unlist(scene: &Scene, name: &str) -> Result<()> {
    let id = scene.world.image_id(name)?.to_string();
    let path = scene.world.at("site/images.toml");
    let text = fs::read_to_string(&path)?;
    let mut records = text.split("[[image]]");
    let head = records.next().unwrap_or_default().to_owned();
    let kept: Vec<&str> = records.filter(|record| !record.contains(&id)).collect();
    ensure!(kept.len() + 1 == text.matches("[[image]]").count(), "{id} is not in {text}");
    let text = kept.iter().fold(head, |text, record| format!("{text}[[image]]{record}"));
    fs::write(&path, text).context("images.toml")
}
