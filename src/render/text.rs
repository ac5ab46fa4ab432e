//! The report for people: 80 columns, the answer first, then what proves it.

pub mod comparison;
mod findings;
mod others;
pub mod reproduction;
pub(super) mod style;
mod tables;
pub mod whatif;

use super::safe::escape;
use super::words;
use crate::report::{Delay, Report};
use std::io::{self, Write};
use style::{Style, seconds};

/// How many accounts, lookups and connections `--full` shows; JSON has the rest.
const SHOWN: usize = 8;
/// How many accounts beside the first, clients and notes are shown without `--full`.
const SHOWN_BRIEFLY: usize = 3;

/// How the text is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours, for terminals.
    pub colored: bool,
    /// Columns of a line.
    pub columns: usize,
    /// Everything there is to say, instead of the answer and what proves it.
    pub full: bool,
    /// The commands that verify each entry of the first account (`--verify`).
    pub verify: bool,
}

impl Look {
    /// Columns that fit a terminal and a mail.
    pub const COLUMNS: usize = 80;
}

impl Default for Look {
    fn default() -> Self {
        Self {
            colored: false,
            columns: Self::COLUMNS,
            full: false,
            verify: false,
        }
    }
}

/// Writes the report.
pub fn write(report: &Report, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let style = Style::new(look);
    for line in style.wrap(&words::heading(report), 0) {
        writeln!(out, "{}", style.faint(&line))?;
    }
    for (n, sentence) in report.summary.iter().enumerate() {
        for line in style.wrap(&escape(sentence), 0) {
            if n == 0 {
                writeln!(out, "{}", style.strong(&line))?;
            } else {
                writeln!(out, "{line}")?;
            }
        }
    }
    if let Some(delay) = report.delays.first() {
        account(report, delay, &style, out)?;
    }
    if let Some(delay) = report.delays.first().filter(|_| look.verify) {
        findings::verify(delay, &style, out)?;
    }
    findings::write(report, &style, out)?;
    if !report.resolvers.is_empty() {
        tables::resolvers(report, &style, out)?;
    }
    if !report.clients.is_empty() {
        tables::clients(report, &style, out)?;
    }
    if let Some((head, rows)) = words::totals(report, style.shown()) {
        section(&head, &style, out)?;
        for (lost, what) in rows {
            writeln!(out, "{lost:>10}  {}", style::fit(&what, style.left(12)))?;
        }
    }
    if report.delays.len() > 1 {
        others::write(report, &style, out)?;
    }
    if look.full {
        whole(report, &style, out)
    } else {
        closing(report, &style, out)
    }
}

/// What only `--full` has.
fn whole(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if !report.lookups.is_empty() {
        tables::lookups(report, style, out)?;
    }
    if !report.connections.is_empty() {
        tables::connections(report, style, out)?;
    }
    inputs(report, style, out)?;
    whatif::closing(report, style, out)
}

/// The best change, the most important notes, and where the rest is.
fn closing(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    if let Some(best) = &report.best_change {
        bullet("", &escape(&best.told), style, out)?;
    }
    for warning in report.warnings.iter().take(SHOWN_BRIEFLY) {
        bullet("Note: ", &escape(warning), style, out)?;
    }
    for line in style.wrap(&words::rest(report, SHOWN_BRIEFLY, SHOWN), 0) {
        writeln!(out, "{}", style.faint(&line))?;
    }
    Ok(())
}

/// Where the time went.
fn account(report: &Report, delay: &Delay, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if delay.entries.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let who = words::who(report, delay);
    let head = words::where_time_went(delay);
    let gap = style.left(style::width(&head) + style::width(&who));
    if who.is_empty() {
        writeln!(out, "{}", style.head(&head))?;
    } else if gap < 2 {
        writeln!(out, "{}\n  {}", style.head(&head), style.faint(&who))?;
    } else {
        let gap = " ".repeat(gap);
        writeln!(out, "{}{gap}{}", style.head(&head), style.faint(&who))?;
    }
    let most = delay
        .entries
        .iter()
        .filter_map(|e| e.seconds)
        .fold(0.0, f64::max);
    // A narrow terminal has no room for bars.
    let bars = if style.left(0) < 66 { 0 } else { 14 };
    let labels = style.left(12 + bars + 2);
    for entry in &delay.entries {
        let mut label = tables::entry_label(entry);
        if entry.inferred {
            label.push_str(" (inferred)");
        }
        let spent = format!("{:>10}  ", words::known_seconds(entry.seconds));
        if bars == 0 {
            // Nor for columns: a second line rather than a label without its middle.
            let words: Vec<&str> = label.split_whitespace().collect();
            bullet(&spent, &words.join(" "), style, out)?;
        } else {
            let bar = style::bar(entry.seconds.unwrap_or(0.0), most, bars);
            let label = style::fit(&label, labels);
            let line = format!("{} {bar}", style::pad(&label, labels));
            writeln!(out, "{spent}{}", line.trim_end())?;
        }
        if let Some(note) = &entry.note {
            for line in style.wrap(&escape(note), 12) {
                writeln!(out, "{:>10}  {}", "", style.faint(&line))?;
            }
        }
    }
    if let Some(cpu) = delay.cpu_seconds {
        let used = format!(
            "{:>10}  of CPU time the process had used by then",
            seconds(cpu)
        );
        writeln!(out, "{}", style.faint(&used))?;
    }
    if let Some(line) = words::after(report, delay) {
        bullet("      then  ", &line, style, out)?;
    }
    Ok(())
}

/// A heading, after a blank line.
fn section(head: &str, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    for line in style.wrap(head, 0) {
        writeln!(out, "{}", style.head(&line))?;
    }
    Ok(())
}

fn bullet(mark: &str, text: &str, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (n, line) in style.wrap(text, mark.len()).into_iter().enumerate() {
        let mark = if n == 0 {
            mark.to_owned()
        } else {
            " ".repeat(mark.len())
        };
        writeln!(out, "{mark}{line}")?;
    }
    Ok(())
}

/// What was read, how the clocks were laid together, and what the reader should know.
fn inputs(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", style.head("Read"))?;
    for line in words::inputs(report) {
        bullet("  ", &line, style, out)?;
    }
    for warning in &report.warnings {
        bullet("  note: ", &escape(warning), style, out)?;
    }
    if report.unsolicited_responses > 0 {
        let n = report.unsolicited_responses;
        let what = if n == 1 {
            "response answers"
        } else {
            "responses answer"
        };
        let line = format!("{n} {what} no query that was captured");
        bullet("  ", &line, style, out)?;
    }
    if report.duplicates_removed > 0 {
        let n = report.duplicates_removed;
        let (copies, were) = if n == 1 {
            ("copy", "was")
        } else {
            ("copies", "were")
        };
        let line = format!("{n} {copies} of packets seen on another interface {were} removed");
        bullet("  ", &line, style, out)?;
    }
    Ok(())
}
