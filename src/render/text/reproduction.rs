//! What came of a reproduction, for people.

use super::style::{Style, fit, pad};
use super::{Look, bullet};
use crate::explain::comparison::reproduced::{Proof, Reproduction};
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
    if !verdict.also_seen.is_empty() {
        writeln!(out, "The recording may not have shown:")?;
        for line in &verdict.also_seen {
            bullet("  - ", &escape(line), &style, out)?;
        }
    }
    writeln!(out)
}

/// Writes predictions beside measurements.
pub fn proof(rows: &[Proof], look: Look, out: &mut dyn Write) -> io::Result<()> {
    let style = Style::new(look);
    let column = |text: &str| pad(&fit(&escape(text), 40), 40);
    let head = format!(
        "{} {:>11} {:>10}  Verdict",
        column("Proved"),
        "Predicted",
        "Measured"
    );
    writeln!(out, "\n{}", style.head(&head))?;
    for row in rows {
        let (least, most) = row.predicted;
        let predicted = if (most - least).abs() < 0.005 {
            format!("{least:.2} s")
        } else {
            format!("{least:.1}-{most:.1} s")
        };
        let measured = row
            .measured
            .map_or_else(|| "-".into(), |s| format!("{s:.2} s"));
        let verdict = match (row.measured, row.holds()) {
            (None, _) => "not measured: the client did not get so far",
            (_, true) => "as predicted",
            (_, false) => "not as predicted",
        };
        writeln!(
            out,
            "{} {predicted:>11} {measured:>10}  {verdict}",
            column(&row.what)
        )?;
    }
    Ok(())
}
