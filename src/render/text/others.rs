//! The accounts beside the first: many connections and lookups, one line for each place they went to.

use super::style::{Style, fit, pad};
use super::tables;
use crate::render::words;
use crate::report::Report;
use std::io::{self, Write};

/// One line per server or name, the slowest first.
pub fn write(report: &Report, shown: usize, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let groups = words::others(report);
    if groups.is_empty() && report.omitted.delays == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "\n{}",
        style.head("Other connections and lookups, slowest first")
    )?;
    for group in groups.iter().take(shown) {
        let many = if group.count > 1 {
            format!("{} × ", group.count)
        } else {
            String::new()
        };
        let what = fit(&format!("{many}{}", group.what), 34);
        let line = format!(
            "{:>10}  {} {}",
            words::known_seconds(group.slowest.since_start_s),
            pad(&what, 34),
            fit(&group.why(), 31)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    tables::more(
        groups.len().saturating_sub(shown) + report.omitted.delays,
        out,
    )
}
