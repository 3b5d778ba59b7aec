//! Lost and back: a box whose disk and TPM are gone, one box of a fleet, and all of them, by the
//! runbooks' own lines, with the seconds of each.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result};

use crate::drill::{Scene, Stage, Start};

/// What it took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Seconds from the flashing of a blank disk, under a cleared TPM, to the first old token decrypted
    /// with k shares.
    pub rebuild_s: f64,
    /// Seconds from a booted box to the first old token decrypted, by Forward.
    pub forward_s: f64,
}

/// Plays the three losses in `folder`.
///
/// # Errors
/// The first thing that does not go as the runbooks say; the machines stay for a look.
pub fn play(folder: &Path) -> Result<Times> {
    let stage = Stage::new(folder)?;
    let mut scene = stage.scene(Start::One, &folder.join("site"))?;

    scene.world.report.step("the disk of the only box is destroyed, its TPM cleared", "40 s");
    scene.new_disk("alpha")?;
    scene.clear_tpm("alpha")?;
    scene.about("alpha", "alpha");
    let rebuild_s = act(&mut scene, &stage, "all-boxes-blank", "alpha")?;

    scene.world.report.step("a second box comes; then it is replaced by another", "90 s");
    scene.unpack("beta")?;
    scene.about("beta", "alpha");
    act(&mut scene, &stage, "second-box", "beta")?;
    scene.unpack("beta")?;
    act(&mut scene, &stage, "box-lost", "beta")?;
    let envelope = scene.timeline.last().context("a line was played")?;
    let forward = envelope.took.as_secs_f64();
    let since = Instant::now();
    scene.reads_old_token("beta")?;
    let forward_s = forward + since.elapsed().as_secs_f64();

    scene.world.report.step("all boxes are lost; the machines are new", "60 s");
    scene.world.take("beta")?.cut();
    scene.unpack("alpha")?;
    scene.about("alpha", "alpha");
    act(&mut scene, &stage, "all-boxes-lost", "alpha")?;
    scene.world.report.end();
    Ok(Times { rebuild_s, forward_s })
}

/// Plays a section up to the old token, and shows its timeline. Gives its seconds.
fn act(scene: &mut Scene, stage: &Stage<'_>, section: &str, host: &str) -> Result<f64> {
    let first = scene.timeline.len();
    let since = Instant::now();
    scene.run(stage.section(section)?.blocks.first().context("the page has lines")?)?;
    scene.reads_old_token(host)?;
    let seconds = since.elapsed().as_secs_f64();
    let mut at = 0.0;
    println!("\n    {section}");
    for played in &scene.timeline[first..] {
        let took = played.took.as_secs_f64();
        let bar = "#".repeat(crate::report::steps(took, 1.0).min(40));
        let who = format!("{:?}", played.line.who).to_lowercase();
        println!("    {at:6.1} s {took:6.1} s  {who:10} {:70.70} {bar}", played.line.text);
        at += took;
    }
    println!("    {seconds:6.1} s           {host} reads the old token\n");
    Ok(seconds)
}
