//! The report for people: 80 columns, the answer first, then what proves it.

pub mod comparison;
mod findings;
mod others;
pub(super) mod style;
mod tables;
pub mod whatif;

use super::safe::escape;
use super::words;
use crate::report::{Delay, Report};
use std::io::{self, Write};
use style::{Style, seconds, wrap};

/// Width that fits a terminal and a mail.
pub const WIDTH: usize = 80;

/// How many accounts, lookups and connections are shown; JSON has the rest.
const SHOWN: usize = 8;

/// How the text is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Colours, for terminals.
    pub colored: bool,
    /// The commands that verify each entry of the first account (`--verify`).
    pub verify: bool,
}

/// Writes the report.
pub fn write(report: &Report, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let style = Style::new(look.colored);
    for (n, sentence) in report.summary.iter().enumerate() {
        for line in wrap(&escape(sentence), WIDTH) {
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
    findings::write(&report.findings, &style, out)?;
    if !report.resolvers.is_empty() {
        tables::resolvers(report, &style, out)?;
    }
    if !report.clients.is_empty() {
        tables::clients(report, SHOWN, &style, out)?;
    }
    if let Some((head, rows)) = words::totals(report) {
        writeln!(out, "\n{}", style.head(&head))?;
        for (lost, what) in rows {
            writeln!(out, "{lost:>10}  {}", style::fit(&what, WIDTH - 12))?;
        }
    }
    if report.delays.len() > 1 {
        others::write(report, SHOWN, &style, out)?;
    }
    if !report.lookups.is_empty() {
        tables::lookups(report, SHOWN, &style, out)?;
    }
    if !report.connections.is_empty() {
        tables::connections(report, SHOWN, &style, out)?;
    }
    inputs(report, &style, out)?;
    whatif::closing(report, &style, out)
}

/// Where the time went.
fn account(report: &Report, delay: &Delay, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if delay.entries.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let who = words::who(report, delay);
    let head = words::where_time_went(delay);
    let gap = WIDTH
        .saturating_sub(style::width(&head) + style::width(&who))
        .max(2);
    if who.is_empty() {
        writeln!(out, "{}", style.head(&head))?;
    } else {
        let gap = " ".repeat(gap);
        writeln!(out, "{}{gap}{}", style.head(&head), style.faint(&who))?;
    }
    let most = delay
        .entries
        .iter()
        .filter_map(|e| e.seconds)
        .fold(0.0, f64::max);
    for entry in &delay.entries {
        let mut label = tables::entry_label(entry);
        if entry.inferred {
            label.push_str(" (inferred)");
        }
        let bar = style::bar(entry.seconds.unwrap_or(0.0), most, 14);
        let label = style::fit(&label, 52);
        let line = if bar.is_empty() {
            label
        } else {
            format!("{} {}", style::pad(&label, 52), style.faint(&bar))
        };
        writeln!(out, "{:>10}  {line}", words::known_seconds(entry.seconds))?;
        if let Some(note) = &entry.note {
            for line in wrap(&escape(note), WIDTH - 12) {
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
        writeln!(out, "{:>10}  {line}", "then")?;
    }
    Ok(())
}

fn bullet(mark: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    for (n, line) in wrap(text, WIDTH - mark.len()).into_iter().enumerate() {
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
        bullet("  ", &line, out)?;
    }
    for warning in &report.warnings {
        bullet("  note: ", &escape(warning), out)?;
    }
    if report.unsolicited_responses > 0 {
        let n = report.unsolicited_responses;
        let what = if n == 1 {
            "response answers"
        } else {
            "responses answer"
        };
        writeln!(out, "  {n} {what} no query that was captured")?;
    }
    if report.duplicates_removed > 0 {
        writeln!(
            out,
            "  {} copies of packets seen on another interface were removed",
            report.duplicates_removed
        )?;
    }
    Ok(())
}
