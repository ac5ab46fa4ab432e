//! Two reports compared, as Markdown.

use super::mark::Align::{Left, Right};
use super::mark::{advice, code, strong, table, text};
use crate::explain::comparison::{
    Answers, ComparedFinding, ComparedResolver, Comparison, Setting, WaitComparison,
};
use crate::render::words::comparison as words;
use std::io::{self, Write};

/// How many servers and names are listed beside the first; JSON has the rest.
const SHOWN: usize = 20;

/// Writes a comparison.
pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    if let Some((answer, more)) = comparison.summary.split_first() {
        writeln!(out, "{}", strong(answer))?;
        for sentence in more {
            writeln!(out, "\n{}", text(sentence))?;
        }
    }
    let (first, others) = comparison.first_and_others();
    if let Some(first) = first {
        account(first, out)?;
    }
    self::others(others, first.is_some(), out)?;
    findings(&comparison.findings, out)?;
    resolvers(&comparison.resolvers, out)?;
    configuration(&comparison.configuration, out)?;
    writeln!(out, "\n## Compared\n")?;
    for (side, what) in [("before", &comparison.before), ("after", &comparison.after)] {
        let paths: Vec<String> = what.paths.iter().map(|p| code(p)).collect();
        writeln!(out, "- {side}: {}", paths.join(", "))?;
    }
    Ok(())
}

fn account(first: &WaitComparison, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n## {}\n", text(&first.what()))?;
    let parts = first.parts.iter();
    let mut rows: Vec<Vec<String>> = parts
        .map(|p| row(text(&words::part(p)), (p.before_s, p.after_s)))
        .collect();
    rows.push(row("**in all**".into(), words::slowest(first)));
    let head = [
        ("Waited for", Left),
        ("Before", Right),
        ("After", Right),
        ("Gained", Right),
    ];
    table(&head, &rows, out)?;
    match words::attempts(first) {
        Some(many) => writeln!(out, "\n{}", text(&many)),
        None => Ok(()),
    }
}

fn row(label: String, (before, after): (Option<f64>, Option<f64>)) -> Vec<String> {
    vec![
        label,
        words::some(before),
        words::some(after),
        words::gained(before, after),
    ]
}

fn others(others: &[WaitComparison], more: bool, out: &mut dyn Write) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let what = if more {
        "Other connections"
    } else {
        "Connections"
    };
    writeln!(out, "\n## {what} and lookups\n")?;
    let rows: Vec<Vec<String>> = others
        .iter()
        .take(SHOWN)
        .map(|w| {
            let mut cells = row(text(&w.what()), words::slowest(w));
            cells.insert(0, w.change.name().into());
            cells
        })
        .collect();
    let head = [
        ("", Left),
        ("To", Left),
        ("Before", Right),
        ("After", Right),
        ("Gained", Right),
    ];
    table(&head, &rows, out)?;
    match others.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "\n… and {more} more (`--format json` has them)."),
    }
}

fn findings(findings: &[ComparedFinding], out: &mut dyn Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Findings\n")?;
    for f in findings {
        let remedy = words::news(f).map_or_else(String::new, |r| format!(" — {}", advice(r)));
        writeln!(
            out,
            "- **{}** {}: {}{remedy}",
            f.change.name(),
            code(f.id.name()),
            text(&words::found(f)),
        )?;
    }
    Ok(())
}

fn resolvers(resolvers: &[ComparedResolver], out: &mut dyn Write) -> io::Result<()> {
    if resolvers.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Resolvers\n")?;
    let rows: Vec<Vec<String>> = resolvers
        .iter()
        .map(|r| {
            let count = |of: fn(&Answers) -> Option<u64>| words::count(r, of);
            let time = |of: fn(&Answers) -> Option<f64>| words::time(r, of);
            let mut name = text(&words::asked(r));
            if r.untraced {
                name += " (other processes)";
            }
            vec![
                name,
                count(|a| a.queries),
                count(|a| a.unanswered),
                time(|a| a.median_s),
                words::waited(r),
                words::resolver_gained(r),
            ]
        })
        .collect();
    let head = [
        ("Resolver", Left),
        ("Asked", Right),
        ("Unanswered", Right),
        ("Median", Right),
        ("Waited", Right),
        ("Gained", Right),
    ];
    table(&head, &rows, out)
}

fn configuration(settings: &[Setting], out: &mut dyn Write) -> io::Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## resolv.conf\n")?;
    for setting in settings {
        writeln!(out, "- {}", text(&words::setting(setting)))?;
    }
    Ok(())
}
