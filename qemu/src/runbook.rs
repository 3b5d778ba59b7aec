//! `provisioning/RUNBOOKS.md` as data: its sections on changes and losses, with the lines that people
//! type. The drills run these lines, so the page cannot go stale.

use anyhow::{Context as _, Result, bail, ensure};

/// The page as it stands in the checkout that this program was built from.
pub const PAGE: &str = include_str!("../../provisioning/RUNBOOKS.md");

/// Heading under which the sections stand.
const CHAPTER: &str = "# Changes and losses";

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// One of the operators, in the site's directory.
    Ops,
    /// Each of m signers, with a key of their own.
    Signers,
    /// Each of k custodians, on a machine of their own.
    Custodians,
    /// Each of all n custodians.
    Everyone,
    /// Somebody at the machine.
    Hands,
}

/// A line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who types or does it.
    pub who: Who,
    /// What.
    pub text: String,
}

/// A change or a loss, and the way through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name of the section and of its drill.
    pub name: String,
    /// What is typed, in order; text stands between two blocks.
    pub blocks: Vec<Vec<Line>>,
}

impl Section {
    /// Commands that operators type, signatures aside.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.blocks.iter().flatten().filter(|line| line.who == Who::Ops).count()
    }
}

/// Every section of the chapter, in the page's order.
///
/// # Errors
/// A heading without a name, or a line that begins with nobody known.
pub fn sections(page: &str) -> Result<Vec<Section>> {
    let (_, chapter) = page.split_once(CHAPTER).context("expected the chapter of losses")?;
    let mut sections: Vec<Section> = Vec::new();
    let mut in_block = false;
    for line in chapter.lines() {
        let typed = line.strip_prefix("    ");
        if let Some(name) = line.strip_prefix("## ") {
            let known = |c: char| c.is_ascii_lowercase() || c == '-';
            ensure!(name.chars().all(known), "{name}: expected a-z and - alone");
            ensure!(sections.iter().all(|s| s.name != name), "{name} stands there twice");
            sections.push(Section { name: name.to_owned(), blocks: Vec::new() });
        } else if let (Some(typed), Some(section)) = (typed, sections.last_mut()) {
            let line = parse(typed).with_context(|| section.name.clone())?;
            match section.blocks.last_mut() {
                Some(block) if in_block => block.push(line),
                _ => section.blocks.push(vec![line]),
            }
        }
        in_block = typed.is_some();
    }
    Ok(sections)
}

fn parse(line: &str) -> Result<Line> {
    let (who, text) = line.split_once(' ').with_context(|| format!("{line:?}: WHO COMMAND"))?;
    let who = match who {
        "ops" => Who::Ops,
        "signers" => Who::Signers,
        "custodians" => Who::Custodians,
        "everyone" => Who::Everyone,
        "hands" => Who::Hands,
        other => bail!("{other}: expected ops, signers, custodians, everyone or hands"),
    };
    Ok(Line { who, text: text.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_as_sections_with_lines() {
        for section in sections(PAGE).unwrap() {
            assert!(!section.blocks.is_empty(), "{}: nothing is done", section.name);
        }
    }

    #[test]
    fn a_section_is_a_name_and_blocks_of_lines() {
        let page = "# Changes and losses\n## box-lost\nprose\n\n    hands power on alpha\n    ops   casemate x\n\nmore\n\n    ops   y\n";
        let sections = sections(page).unwrap();
        assert_eq!(sections[0].name, "box-lost");
        assert_eq!(sections[0].commands(), 2);
        let first = Line { who: Who::Hands, text: "power on alpha".to_owned() };
        assert_eq!((sections[0].blocks.len(), &sections[0].blocks[0][0]), (2, &first));
        assert!(super::sections(&page.replace("hands", "nobody")).is_err());
    }
}
