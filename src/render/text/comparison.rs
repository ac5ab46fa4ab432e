//! Two reports compared, for people.

use super::style::{Style, fit, pad};
use super::{Look, bullet};
use crate::explain::comparison::{
    ComparedFinding, ComparedResolver, Comparison, Setting, WaitComparison,
};
use crate::render::safe::escape;
use crate::render::words::comparison as words;
use std::io::{self, Write};

/// How many servers and names are listed beside the first.
const SHOWN: usize = 12;

/// Writes a comparison.
pub fn write(comparison: &Comparison, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let style = Style::new(look);
    for (n, sentence) in comparison.summary.iter().enumerate() {
        for line in style.wrap(&escape(sentence), 0) {
            let line = if n == 0 { style.strong(&line) } else { line };
            writeln!(out, "{line}")?;
        }
    }
    let (first, others) = comparison.first_and_others();
    if let Some(first) = first {
        account(first, &style, out)?;
    }
    self::others(others, first.is_some(), &style, out)?;
    findings(&comparison.findings, &style, out)?;
    resolvers(&comparison.resolvers, &style, out)?;
    configuration(&comparison.configuration, &style, out)?;
    writeln!(out, "\n{}", style.head("Compared"))?;
    for (side, what) in [("before", &comparison.before), ("after", &comparison.after)] {
        bullet(
            &format!("  {side:<8}"),
            &escape(&what.paths.join(", ")),
            &style,
            out,
        )?;
    }
    Ok(())
}

/// The slowest server or name, part by part.
fn account(first: &WaitComparison, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let head = |what: &str| {
        let what = pad(&fit(&escape(what), 46), 46);
        format!("{what} {:>10} {:>10} {:>10}", "Before", "After", "Gained")
    };
    writeln!(out, "\n{}", style.head(&head(&first.what())))?;
    for part in &first.parts {
        let label = format!("  {}", pad(&words::part(part), 44));
        row(&label, part.before_s, part.after_s, out)?;
    }
    let (before, after) = words::slowest(first);
    row("  in all", before, after, out)?;
    if let Some(many) = words::attempts(first) {
        for line in style.wrap(&many, 2) {
            writeln!(out, "  {}", style.faint(&line))?;
        }
    }
    Ok(())
}

fn row(
    label: &str,
    before: Option<f64>,
    after: Option<f64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{} {:>10} {:>10} {:>10}",
        pad(&fit(label, 46), 46),
        words::some(before),
        words::some(after),
        words::gained(before, after)
    )
}

/// The other servers and names, a line each.
fn others(
    others: &[WaitComparison],
    more: bool,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let what = if more {
        "Other connections and lookups"
    } else {
        "Connections and lookups"
    };
    let head = format!(
        "{} {:>10} {:>10} {:>10}",
        pad(what, 46),
        "Before",
        "After",
        "Gained"
    );
    writeln!(out, "\n{}", style.head(&head))?;
    for other in others.iter().take(SHOWN) {
        let label = format!("  {:<7}{}", other.change.name(), escape(&other.what()));
        let (before, after) = words::slowest(other);
        row(&label, before, after, out)?;
    }
    match others.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more (--format json has them)"),
    }
}

fn findings(findings: &[ComparedFinding], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.head("Findings"))?;
    for finding in findings {
        let mark = format!("  {:<7}", finding.change.name());
        bullet(
            &mark,
            &format!("{} [{}]", words::found(finding), finding.id),
            style,
            out,
        )?;
        if let Some(remedy) = words::news(finding) {
            super::findings::advice("      => ", remedy, style, out)?;
        }
    }
    Ok(())
}

fn resolvers(resolvers: &[ComparedResolver], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if resolvers.is_empty() {
        return Ok(());
    }
    let head = format!(
        "{} {:>10} {:>11} {:>16} {:>17} {:>8}",
        pad("Resolver", 13),
        "Asked",
        "Unanswered",
        "Median",
        "Waited",
        "Gained"
    );
    writeln!(out, "\n{}", style.head(&head))?;
    for r in resolvers {
        let line = format!(
            "{} {:>10} {:>11} {:>16} {:>17} {:>8}",
            pad(&fit(&words::asked(r), 13), 13),
            words::count(r, |a| a.queries),
            words::count(r, |a| a.unanswered),
            words::time(r, |a| a.median_s),
            words::waited(r),
            words::resolver_gained(r)
        );
        writeln!(out, "{line}")?;
        if r.untraced {
            writeln!(out, "  {}", style.faint("asked by other processes"))?;
        }
    }
    Ok(())
}

fn configuration(settings: &[Setting], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.head("resolv.conf"))?;
    for setting in settings {
        bullet("  ", &words::setting(setting), style, out)?;
    }
    Ok(())
}
