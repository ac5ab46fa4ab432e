//! The accounts beside the first: many connections and lookups, one line for each place they went to.

use super::style::{Style, fit, pad, seconds};
use super::tables;
use crate::render::safe::escape;
use crate::report::{Delay, Report};
use std::collections::HashMap;
use std::io::{self, Write};

/// Accounts of one server or name.
struct Group<'a> {
    what: String,
    slowest: &'a Delay,
    count: usize,
}

/// One line per server or name, the slowest first.
pub fn write(report: &Report, shown: usize, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let connections: HashMap<&str, &str> = report
        .connections
        .iter()
        .map(|c| (c.id.as_str(), c.to.as_str()))
        .collect();
    let lookups: HashMap<&str, &str> = report
        .lookups
        .iter()
        .map(|l| (l.id.as_str(), l.name.as_str()))
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for delay in report.delays.iter().skip(1) {
        let what = match &delay.connection {
            Some(id) => connections.get(id.as_str()),
            None => delay.lookup.as_ref().and_then(|l| lookups.get(l.as_str())),
        };
        let what = escape(what.unwrap_or(&"?")).into_owned();
        // The list is sorted: the first of a group is its slowest.
        if let Some(at) = index.get(&what) {
            groups[*at].count += 1;
        } else {
            index.insert(what.clone(), groups.len());
            groups.push(Group {
                what,
                slowest: delay,
                count: 1,
            });
        }
    }
    writeln!(
        out,
        "\n{}",
        style.head("Other connections and lookups, slowest first")
    )?;
    for group in groups.iter().take(shown) {
        let entries = group.slowest.entries.iter();
        let worst = entries.max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let why = worst
            .map(|e| tables::entry_label(report, e))
            .unwrap_or_default();
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let many = if group.count > 1 {
            format!("{} × ", group.count)
        } else {
            String::new()
        };
        let what = fit(&format!("{many}{}", group.what), 34);
        let line = format!(
            "{:>10}  {} {}",
            seconds(group.slowest.since_start_s),
            pad(&what, 34),
            fit(&why, 31)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    tables::more(
        groups.len().saturating_sub(shown) + report.omitted.delays,
        out,
    )
}
