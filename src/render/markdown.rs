//! The report as Markdown that can be pasted into a ticket or a wiki.

pub mod comparison;
pub mod mark;

use super::text::style::seconds;
use super::{evidence, words};
use crate::report::{Delay, Report};
use mark::Align::{Left, Right};
use mark::{advice, code, strong, table, text};
use std::collections::HashSet;
use std::io::{self, Write};

/// How many places of each file a finding shows.
const PLACES: usize = 8;

/// How many other accounts are shown; JSON has the rest.
const OTHERS: usize = 12;

/// Writes the report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if let Some((answer, more)) = report.summary.split_first() {
        writeln!(out, "{}", strong(answer))?;
        if !more.is_empty() {
            let more: Vec<String> = more.iter().map(|s| text(s)).collect();
            writeln!(out, "\n{}", more.join(" "))?;
        }
    }
    if let Some(delay) = report.delays.first() {
        account(report, delay, out)?;
    }
    findings(report, out)?;
    remedies(report, out)?;
    what_if(report, out)?;
    resolvers(report, out)?;
    totals(report, out)?;
    others(report, out)?;
    if let Some(delay) = report.delays.first() {
        verify(delay, out)?;
    }
    inputs(report, out)
}

/// What all subjects together lost.
fn totals(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some((head, rows)) = words::totals(report, usize::MAX) else {
        return Ok(());
    };
    writeln!(out, "\n## {head}\n")?;
    for (lost, what) in rows {
        writeln!(out, "- {lost}: {}", text(&what))?;
    }
    Ok(())
}

/// Where the time went.
fn account(report: &Report, delay: &Delay, out: &mut dyn Write) -> io::Result<()> {
    if delay.entries.is_empty() {
        return Ok(());
    }
    let whole = delay.since_start_s;
    writeln!(out, "\n## {}\n", words::where_time_went(delay))?;
    let mut rows: Vec<Vec<String>> = delay
        .entries
        .iter()
        .map(|entry| {
            let spent = words::spent(entry);
            let inferred = if entry.inferred { " (inferred)" } else { "" };
            let note = entry
                .note
                .as_deref()
                .map_or_else(String::new, |n| format!("; {}", text(n)));
            vec![
                words::known_seconds(entry.seconds),
                share(entry.seconds, whole),
                text(&spent.party),
                format!("{}{inferred}{note}", spent.what),
                text(&spent.asked),
            ]
        })
        .collect();
    if let Some(after) = words::after(report, delay) {
        rows.push(vec![
            "then".into(),
            String::new(),
            String::new(),
            text(&after),
            String::new(),
        ]);
    }
    let head = [
        ("Time", Right),
        ("Share", Right),
        ("Whom", Left),
        ("What", Left),
        ("Asked", Left),
    ];
    table(&head, &rows, out)?;
    let who = words::who(report, delay);
    if !who.is_empty() {
        writeln!(out, "\nWaiting: {}.", text(&who))?;
    }
    if let Some(cpu) = delay.cpu_seconds {
        writeln!(
            out,
            "\nBy then the process had used {} of CPU time.",
            seconds(cpu)
        )?;
    }
    Ok(())
}

fn share(part: Option<f64>, whole: Option<f64>) -> String {
    let Some((part, whole)) = part.zip(whole) else {
        return String::new();
    };
    let percent = part / whole * 100.0;
    if !percent.is_finite() {
        String::new()
    } else if percent < 1.0 {
        "under 1 %".into()
    } else {
        format!("{percent:.0} %")
    }
}

/// What was concluded, with evidence.
fn findings(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Findings")?;
    let mut hinted: HashSet<&str> = HashSet::new();
    for (n, finding) in report.findings.iter().enumerate() {
        let mark = format!("{}. ", n + 1);
        let indent = " ".repeat(mark.len());
        let cost = words::cost(finding);
        writeln!(out, "\n{mark}{}{cost}", strong(&finding.title))?;
        if !finding.detail.is_empty() {
            writeln!(out, "\n{indent}{}", text(&finding.detail))?;
        }
        for caller in &finding.callers {
            // Once is enough.
            let hint = caller.hint.as_deref().filter(|h| hinted.insert(*h));
            writeln!(out, "\n{indent}{}", text(&words::caller(caller, hint)))?;
        }
        let mut cited = places(["packet", "packets"], &finding.packets);
        cited.extend(places(["line", "lines"], &finding.calls));
        let evidence = if cited.is_empty() {
            String::new()
        } else {
            format!(". Evidence: {}", cited.join("; "))
        };
        writeln!(out, "\n{indent}{}{evidence}", code(finding.id.name()))?;
    }
    Ok(())
}

/// Evidence, file by file; `unit` for one place and for several.
fn places(unit: [&str; 2], places: &[String]) -> Vec<String> {
    let one = |file: &evidence::Cited| {
        let shown: Vec<&str> = file.numbers.iter().take(PLACES).copied().collect();
        let more = match file.numbers.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let unit = unit[usize::from(file.numbers.len() > 1)];
        format!("{} {unit} {}{more}", code(file.path), shown.join(", "))
    };
    if let Some(times) = evidence::times(places, PLACES) {
        return vec![times];
    }
    evidence::by_file(places).iter().map(one).collect()
}

/// What to change, to be ticked off.
fn remedies(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut remedies = report
        .findings
        .iter()
        .enumerate()
        .filter_map(|(n, f)| Some((n + 1, f.remedy.as_deref()?)))
        .peekable();
    if remedies.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "\n## What to change\n")?;
    for (n, remedy) in remedies {
        writeln!(out, "- [ ] Finding {n}: {}", advice(remedy))?;
    }
    Ok(())
}

/// How the waits fit, and the best single change.
fn what_if(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let told = words::what_if(report);
    if told.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## What if\n")?;
    for line in told {
        writeln!(out, "- {}", text(&line))?;
    }
    Ok(())
}

/// Per resolver: asked, answered, unanswered, how fast, how long it was waited for.
fn resolvers(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.resolvers.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = report
        .resolvers
        .iter()
        .map(|r| {
            vec![
                text(&words::resolver(r)),
                words::known_count(r.queries),
                words::known_count(r.answered),
                words::known_count(r.unanswered),
                words::known_count(r.open),
                words::known_seconds(r.rtt_s.median),
                words::resolver_waited(r),
                text(&words::resolver_notes(r)),
            ]
        })
        .collect();
    let mut head = vec![
        ("Resolver", Left),
        ("Asked", Right),
        ("Answered", Right),
        ("Unanswered", Right),
        ("Open", Right),
        ("Median", Right),
        ("Waited", Right),
    ];
    if rows.iter().any(|r| r.last().is_some_and(|n| !n.is_empty())) {
        head.push(("Also", Left));
    }
    writeln!(out, "\n## Resolvers\n")?;
    table(&head, &rows, out)
}

/// The accounts beside the first.
fn others(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let groups = words::others(report);
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Other connections and lookups, slowest first\n")?;
    let rows: Vec<Vec<String>> = groups
        .iter()
        .take(OTHERS)
        .map(|group| {
            vec![
                words::known_seconds(group.slowest.since_start_s),
                group.count.to_string(),
                text(&group.what),
                text(&group.why()),
            ]
        })
        .collect();
    let head = [
        ("Slowest", Right),
        ("Times", Right),
        ("To", Left),
        ("Mostly", Left),
    ];
    table(&head, &rows, out)?;
    match groups.len().saturating_sub(OTHERS) + report.omitted.delays {
        0 => Ok(()),
        more => writeln!(out, "\n… and {more} more (`--format json --all` has them)."),
    }
}

/// The commands that show the evidence of each line of the account.
fn verify(delay: &Delay, out: &mut dyn Write) -> io::Result<()> {
    let proven = delay.entries.iter().map(|e| (e, evidence::commands(e)));
    let proven: Vec<_> = proven.filter(|(_, c)| !c.is_empty()).collect();
    if proven.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## To verify\n\n```sh")?;
    for (entry, commands) in proven {
        let words::Spent { party, what, asked } = words::spent(entry);
        let label = format!(
            "# {}: {party} {what} {asked}",
            words::known_seconds(entry.seconds)
        );
        let label: Vec<&str> = label.split_whitespace().collect();
        writeln!(out, "{}", label.join(" "))?;
        for command in commands {
            writeln!(out, "{command}")?;
        }
    }
    writeln!(out, "```")
}

/// What was read, and what the reader should know about it.
fn inputs(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n## Read\n")?;
    if let Some(started) = &report.started {
        writeln!(out, "- began {}", text(started))?;
    }
    for line in words::inputs(report) {
        writeln!(out, "- {}", text(&line))?;
    }
    for warning in &report.warnings {
        writeln!(out, "- note: {}", text(warning))?;
    }
    if report.duplicates_removed > 0 {
        writeln!(
            out,
            "- {} copies of packets seen on another interface were removed",
            report.duplicates_removed
        )?;
    }
    Ok(())
}
