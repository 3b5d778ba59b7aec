//! The drills: for each section of the runbooks a machine (or two) in the state that the section starts
//! from, the damage, the section's own lines run word by word, and the proof that the site is whole.

mod boxes;
mod hands;
mod images;
mod losses;
mod people;
mod scene;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

pub use losses::DRILLS;
pub use scene::{Played, Scene, VALUE};

use crate::{
    report::Report,
    runbook::{self, Line, Section},
    tools::Tools,
    world::World,
};

/// What a section starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A site and its image; the machines are as they were delivered.
    Delivered,
    /// The box `alpha` serves.
    One,
    /// The boxes `alpha` and `beta` serve.
    Two,
}

/// A section of the runbooks, to be played.
pub struct Drill {
    /// Name of the section.
    pub name: &'static str,
    /// Commands of operators in all its blocks, at most: what is promised.
    pub most: usize,
    /// What it starts from.
    pub start: Start,
    /// Does the damage, runs the section's blocks, and proves that the site is whole.
    pub play: fn(&mut Scene, &[Block]) -> Result<()>,
}

/// Lines of a section that follow each other.
pub type Block = Vec<Line>;

/// How a drill went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// Commands typed by operators, signatures and custodians' aside.
    pub commands: usize,
    /// Seconds that the section's own lines took.
    pub seconds: f64,
}

/// Worlds that drills start from, made when first asked for.
pub struct Stage<'a> {
    folder: &'a Path,
    sections: Vec<Section>,
}

impl<'a> Stage<'a> {
    /// A stage in `folder`; what an earlier run left there is removed, but for worlds that were made
    /// by the same programs.
    ///
    /// # Errors
    /// The runbooks do not read, or have a section that no drill plays (or the other way round).
    pub fn new(folder: &'a Path) -> Result<Self> {
        let sections = runbook::sections(runbook::PAGE)?;
        for section in &sections {
            let drill = DRILLS.iter().find(|drill| drill.name == section.name);
            let drill = drill.with_context(|| format!("{}: no drill plays it", section.name))?;
            let (typed, most) = (section.commands(), drill.most);
            ensure!(typed <= most, "{}: {typed} commands, {most} are promised", section.name);
        }
        for drill in DRILLS {
            let known = sections.iter().any(|section| section.name == drill.name);
            ensure!(known, "{}: the runbooks have no such section", drill.name);
        }
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if !path.is_dir() {
                fs::remove_file(path)?;
            } else if !path.ends_with("templates") || !is_current(&path)? {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(Self { folder, sections })
    }

    /// Plays one drill on machines of its own.
    ///
    /// # Errors
    /// The first thing that does not go as the page says. Its machines stay for a look.
    pub fn play(&self, drill: &Drill) -> Result<Outcome> {
        let folder = self.folder.join(drill.name);
        let mut scene = self.scene(drill.start, &folder)?;
        let section = self.section(drill.name)?;
        scene.world.report.step(drill.name, "a minute");
        (drill.play)(&mut scene, &section.blocks)?;
        scene.world.report.end();
        let seconds = scene.spent().as_secs_f64();
        drop(scene);
        fs::remove_dir_all(&folder)?;
        Ok(Outcome { name: drill.name, commands: section.commands(), seconds })
    }

    /// A copy of the world that `start` names, machines running.
    ///
    /// # Errors
    /// It cannot be brought there.
    pub fn scene(&self, start: Start, folder: &Path) -> Result<Scene> {
        let template = self.template(start)?;
        let world = template.copy(folder, Report::new(0))?;
        let mut scene = Scene::new(world);
        scene.power_on_all()?;
        Ok(scene)
    }

    /// The section of a drill.
    ///
    /// # Errors
    /// There is none.
    pub fn section(&self, name: &str) -> Result<&Section> {
        self.sections.iter().find(|section| section.name == name).with_context(|| name.to_owned())
    }

    /// The world itself, off. One is made from the one before by the runbooks' own first sections.
    fn template(&self, start: Start) -> Result<World> {
        let folder = self.folder.join("templates").join(format!("{start:?}").to_lowercase());
        if folder.join("done").exists() {
            return scene::reopen(&folder);
        }
        let mut scene = match start {
            Start::Delivered => {
                let mut report = Report::new(0);
                report.step("a site and its image", "1 min; the first time 10");
                let world = World::open(&folder, report)?;
                world.make_site()?;
                world.make_image(&world.at("image"))?;
                Scene::new(world)
            }
            Start::One | Start::Two => {
                let (before, name) = match start {
                    Start::One => (Start::Delivered, "first-box"),
                    _ => (Start::One, "second-box"),
                };
                let mut scene = self.scene(before, &folder)?;
                let drill = DRILLS.iter().find(|drill| drill.name == name).context(name)?;
                (drill.play)(&mut scene, &self.section(name)?.blocks)?;
                scene
            }
        };
        scene.power_off_all();
        scene.world.report.end();
        fs::write(folder.join("done"), "")?;
        drop(scene);
        scene::reopen(&folder)
    }
}

/// The first block of another section, for a drill that goes on where that one begins.
fn lines_of(name: &str) -> Result<Block> {
    let sections = runbook::sections(runbook::PAGE)?;
    let section = sections.into_iter().find(|section| section.name == name).context("a section")?;
    section.blocks.into_iter().next().context("a block")
}

/// Whether the worlds in `templates` are younger than the programs that make them.
fn is_current(templates: &Path) -> Result<bool> {
    let tools = Tools::find()?;
    let made = fs::metadata(templates.join("delivered/done")).and_then(|done| done.modified());
    let Ok(made) = made else { return Ok(false) };
    for program in ["casemate", "casemate-image", "casemate-qemu", "init"] {
        if fs::metadata(tools.folder().join(program))?.modified()? > made {
            return Ok(false);
        }
    }
    Ok(true)
}
