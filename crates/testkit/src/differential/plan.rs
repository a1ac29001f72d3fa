//! Plans by seed: a random cluster, some Corefiles, questions and edits (docs/formats/differential.md).
//!
//! Enters: a seed and how much to ask. Leaves: the lines of a plan. Deliberately absent: files.

use serde_json::{Value, json};

use super::dice::Dice;
use super::grammar::Section;
use super::questions::{Asker, edit};
use super::world::World;

/// How much one cluster is asked.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Corefiles per cluster.
    pub sections: usize,
    /// Questions per Corefile.
    pub questions: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { sections: 5, questions: 260 }
    }
}

/// The plan of one seed, as JSON lines.
#[must_use]
pub fn plan(seed: u64, size: Size) -> String {
    let mut dice = Dice::new(seed);
    let world = World::roll(&mut dice);
    let mut clients: Vec<String> = world.pods.iter().map(|(_, ip)| ip.clone()).collect();
    clients.truncate(6);
    let mut lines = vec![json!({ "seed": seed, "objects": world.objects })];
    for number in 0..size.sections {
        let section = Section::roll(&mut dice, !world.imports.is_empty(), &clients);
        lines.push(Value::Object(section.line.clone()));
        // The last section edits: its edits would show in the sections behind it.
        let edits = if number + 1 == size.sections { 2 + dice.below(3) } else { 0 };
        let part = size.questions / (edits + 1);
        lines.extend(Asker::new(&mut dice, &world, &section).lines(part));
        for _ in 0..edits {
            let (line, asked) = edit(&mut dice, &world, section.timeout_ms());
            lines.push(line);
            lines.extend(asked);
            lines.extend(Asker::new(&mut dice, &world, &section).lines(part));
        }
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}
