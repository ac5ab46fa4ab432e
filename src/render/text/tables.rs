//! The tables of the text report.

use super::style::{Style, fit, pad, seconds, width};
use crate::render::safe::escape;
use crate::render::words::{self, task};
use crate::report::{Entry, Lookup, LookupOutcome, Query, QueryState, Report, Role, Transport};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What an entry of the account was spent on.
pub fn entry_label(entry: &Entry) -> String {
    let words::Spent { party, what, asked } = words::spent(entry);
    let name = if party.is_empty() {
        what.to_owned()
    } else {
        format!("{} {what}", pad(&party, 16))
    };
    format!("{name}  {asked}").trim_end().to_owned()
}

/// Per resolver: asked, answered, unanswered, how fast, how long it was waited for.
pub fn resolvers(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let wide = report
        .resolvers
        .iter()
        .map(|r| words::resolver(r).len())
        .max()
        .unwrap_or(0)
        .clamp(13, 30)
        .min(style.left(26));
    // A narrow terminal has no room for all columns.
    let narrow = style.left(wide) < 55;
    let row = |name: &str, cells: [&str; 6]| {
        let [asked, answered, unanswered, open, median, waited] = cells;
        let name = pad(&fit(name, wide), wide);
        if narrow {
            format!("{name} {asked:>6} {unanswered:>10} {waited:>8}")
        } else {
            format!(
                "{name} {asked:>6} {answered:>9} {unanswered:>11} {open:>5} {median:>9} {waited:>9}"
            )
        }
    };
    let head = row(
        "Resolver",
        [
            "Asked",
            "Answered",
            "Unanswered",
            "Open",
            "Median",
            "Waited",
        ],
    );
    writeln!(out, "\n{}", style.head(&head))?;
    for r in &report.resolvers {
        let line = row(
            &words::resolver(r),
            [
                &words::known_count(r.queries),
                &words::known_count(r.answered),
                &words::known_count(r.unanswered),
                &words::known_count(r.open),
                &words::known_seconds(r.rtt_s.median),
                &words::resolver_waited(r),
            ],
        );
        let silent = r.unanswered > Some(0) && r.answered == Some(0);
        writeln!(out, "{}", if silent { style.bad(&line) } else { line })?;
        let notes = words::resolver_notes(r);
        for line in style.wrap(&notes, 2) {
            writeln!(out, "  {}", style.faint(&line))?;
        }
    }
    Ok(())
}

/// The hosts that asked and connected.
pub fn clients(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = style.shown();
    let head = format!(
        "{} {:>9} {:>9} {:>9} {:>9}",
        pad("Client", 30),
        "Lookups",
        "Connects",
        "Slowest",
        "Failed"
    );
    writeln!(out, "\n{}", style.head(&head))?;
    for client in report.clients.iter().take(shown) {
        writeln!(
            out,
            "{} {:>9} {:>9} {:>9} {:>9}",
            pad(&fit(&words::client(client), 30), 30),
            words::known_count(client.lookups),
            words::known_count(client.connects),
            words::known_seconds(client.slowest_s),
            words::known_count(client.lost)
        )?;
    }
    more(report.clients.len().saturating_sub(shown), style, out)
}

/// Every lookup and what became of its queries.
pub fn lookups(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = style.shown();
    writeln!(out, "\n{}", style.head("Lookups"))?;
    for l in report.lookups.iter().take(shown) {
        let who = l.tasks.first().map(task);
        let host = || l.from.clone().filter(|_| report.clients.len() > 1);
        lookup_head(l, &who.or_else(host).unwrap_or_default(), style, out)?;
        for caller in &l.callers {
            let words = fit(&escape(&caller.words), style.left(5));
            writeln!(out, "     {}", style.faint(&words))?;
        }
        for queries in alike(&l.queries).iter().take(12) {
            queries_line(queries, style, out)?;
        }
    }
    more(
        report.lookups.len().saturating_sub(shown) + report.omitted.lookups,
        style,
        out,
    )
}

/// Its name, how it ended, how long it took, and whose it was.
fn lookup_head(l: &Lookup, who: &str, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let client = l.client.map_or_else(String::new, |c| format!(", {c}"));
    let name = l.name.as_deref().unwrap_or("a name that is not known");
    let head = format!(
        "{} {} {} in {}{client}",
        l.id,
        fit(&escape(name), 40),
        l.outcome.map_or("outcome not known", LookupOutcome::name),
        words::known_seconds(l.seconds)
    );
    let head = escape(&head);
    if who.is_empty() {
        super::bullet("  ", &head, style, out)
    } else if width(&head) + width(who) + 4 > style.left(0) {
        super::bullet("  ", &head, style, out)?;
        writeln!(out, "     {}", style.faint(&fit(who, style.left(5))))
    } else {
        writeln!(out, "  {head}  {}", style.faint(who))
    }
}

/// Queries to one resolver, by one transport and with one end, together; in the order of the first of each.
fn alike(queries: &[Query]) -> Vec<Vec<&Query>> {
    let mut groups: Vec<Vec<&Query>> = Vec::new();
    let mut index: BTreeMap<(&str, Transport, QueryState), usize> = BTreeMap::new();
    for q in queries {
        let key = (&*q.resolver, q.transport, q.state);
        let at = *index.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(q);
    }
    groups
}

/// Whom such queries went to, how many, of which types, their end, and the waits for the first of them.
fn queries_line(queries: &[&Query], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let q = queries[0];
    let mut kinds: Vec<&str> = queries
        .iter()
        .filter_map(|q| q.question.as_deref()?.split(' ').next())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let waits: Vec<String> = queries
        .iter()
        .map(|q| words::known_seconds(q.waited_s))
        .collect();
    let waits = if waits.len() > 3 {
        format!("{} …", waits[..3].join(" "))
    } else {
        waits.join(" ")
    };
    let party = format!("{}{}", words::party(&q.resolver), words::over(q.transport));
    let line = format!(
        "{} {:>2} × {}  {}",
        pad(&party, 22),
        queries.len(),
        pad(&kinds.join("+"), 8),
        words::state(q.state)
    );
    let line = escape(&line);
    // A narrow terminal has no room for a column of waits.
    match style.left(5 + 1 + 22) {
        label if label >= 38 => {
            let label = label.min(52);
            let line = pad(&fit(&line, label), label);
            writeln!(out, "     {line} {}", fit(&waits, 22))
        }
        _ => super::bullet("     ", &format!("{line}  {waits}"), style, out),
    }
}

/// Every connection attempt.
pub fn connections(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = style.shown();
    writeln!(out, "\n{}", style.head("Connections"))?;
    let mut list: Vec<_> = report.connections.iter().collect();
    // Servers first: they are what the user asked about.
    list.sort_by_key(|c| (c.role != Role::Server, c.role != Role::Resolver));
    for c in list.iter().take(shown) {
        let at = c
            .syn_s
            .or(c.called_s)
            .map_or_else(String::new, |s| format!(" at {s:.3} s"));
        let took = c
            .connect_seconds
            .map_or_else(String::new, |s| format!(" in {}", seconds(s)));
        let syns = match c.retransmissions {
            Some(n) if n > 0 => format!(", {} SYNs", n + 1),
            _ => String::new(),
        };
        let role = match c.role {
            Role::Server => String::new(),
            other => format!(" ({other})"),
        };
        let cause = c
            .cause
            .as_ref()
            .map_or_else(String::new, |x| format!("  by {}", x.how));
        let line = format!(
            "{} {}{at}: {}{took}{syns}{role}",
            c.id,
            pad(&c.to, 24),
            words::outcome(c.outcome)
        );
        let (line, cause) = (escape(&line), escape(&cause));
        if width(&line) + width(&cause) + 2 > style.left(0) {
            super::bullet("  ", &format!("{line}{cause}"), style, out)?;
        } else {
            writeln!(out, "  {line}{}", style.faint(&cause))?;
        }
    }
    more(
        report.connections.len().saturating_sub(shown) + report.omitted.connections,
        style,
        out,
    )
}

/// Says that a list was cut, and what has the rest of it: `--full` shows some more, not any number.
pub fn more(n: usize, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if n > 0 {
        let option = if style.is_full() || n > super::SHOWN - super::SHOWN_BRIEFLY {
            "--format json --all"
        } else {
            "--full"
        };
        writeln!(out, "  … and {n} more ({option})")?;
    }
    Ok(())
}
