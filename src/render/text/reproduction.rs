//! What came of a reproduction, for people.

use super::style::Style;
use super::{Look, bullet};
use crate::explain::comparison::reproduced::Reproduction;
use crate::render::safe::escape;
use std::io::{self, Write};

/// Writes the reproduced run's first sentence and how it compares with the recorded one.
pub fn write(
    summary: &[String],
    verdict: &Reproduction,
    look: Look,
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = Style::new(look);
    for sentence in summary.iter().take(1) {
        for line in style.wrap(&escape(sentence), 0) {
            writeln!(out, "{}", style.strong(&line))?;
        }
    }
    writeln!(out)?;
    if verdict.same {
        let seconds = verdict.slowest.map_or_else(String::new, |(before, after)| {
            format!(" ({before:.2} s recorded, {after:.2} s reproduced)")
        });
        writeln!(out, "Reproduced: as before{seconds}.")?;
    } else {
        writeln!(out, "Not as before:")?;
        for line in &verdict.differences {
            bullet("  - ", &escape(line), &style, out)?;
        }
    }
    writeln!(out)
}
