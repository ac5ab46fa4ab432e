//! The accounts beside the first: many connections and lookups, one line for each place they went to.

use super::style::{Style, fit, pad};
use super::tables;
use crate::render::words;
use crate::report::Report;
use std::io::{self, Write};

/// One line per server or name, the slowest first.
pub fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let groups = words::others(report);
    if groups.is_empty() && report.omitted.delays == 0 {
        return Ok(());
    }
    let head = "Other connections and lookups, slowest first";
    super::section(head, style, out)?;
    let shown = style.shown();
    // What it was spent on stands on the same line where there is room.
    let room = style.left(13);
    let names = room.min(34);
    for group in groups.iter().take(shown) {
        let many = if group.count > 1 {
            format!("{} × ", group.count)
        } else {
            String::new()
        };
        let what = fit(&format!("{many}{}", group.what), names);
        let left = room.saturating_sub(names + 1);
        // Nothing rather than a stump.
        let why = if left < 12 {
            String::new()
        } else {
            fit(&group.why(), left)
        };
        let line = format!(
            "{:>10}  {} {why}",
            words::known_seconds(group.slowest.since_start_s),
            pad(&what, names)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    tables::more(
        groups.len().saturating_sub(shown) + report.omitted.delays,
        style,
        out,
    )
}
