//! What another setup would have made of the delay: the last lines of a report, and `presyn whatif`'s answer.

use super::style::{Style, fit, pad, seconds, width};
use super::{Look, SHOWN, bullet};
use crate::render::safe::escape;
use crate::render::words;
use crate::report::Report;
use crate::report::whatif::{
    ChangeAnswer, EstimatedOutcome, PredictedDelay, PredictedLookup, WhatIf,
};
use std::io::{self, Write};

/// How the waits fit, and the best single change.
pub fn closing(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let told = words::what_if(report);
    if told.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.head("What if"))?;
    for line in told {
        bullet("  ", &line, style, out)?;
    }
    Ok(())
}

/// Writes the answers of `presyn whatif`.
pub fn write(whatif: &WhatIf, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let style = Style::new(look);
    let servers = escape(&whatif.nameservers.join(" ")).into_owned();
    match &whatif.answers[..] {
        [] => writeln!(
            out,
            "Nothing to change: no model applies to a lookup of the slowest connect."
        ),
        [one] => answer(whatif, one, &style, out),
        many => {
            let to = many[0].delays.first().map_or("", |d| &d.to);
            let head = format!("Delay before {}, resolvers {servers}", escape(to));
            for line in style.wrap(&head, 0) {
                writeln!(out, "{}", style.strong(&line))?;
            }
            let seen = many[0].delays.first().map_or(0.0, |d| d.seen_s);
            writeln!(out, "\n{}{:>10}", pad("  As it was", 54), seconds(seen))?;
            for answer in many {
                let then = answer.delays.first().map(about).unwrap_or_default();
                let change = fit(&format!("  {}", escape(&answer.change)), 54);
                writeln!(out, "{}{:>10}", pad(&change, 54), then)?;
            }
            let mut told: Vec<&String> = Vec::new();
            for assumption in many.iter().flat_map(|a| &a.assumptions) {
                if !told.contains(&assumption) {
                    told.push(assumption);
                }
            }
            assumptions(&told, &style, out)
        }
    }
}

/// `25.0 s`, `4.00 s to 6.00 s`, and what becomes of the lookup.
fn about(delay: &PredictedDelay) -> String {
    let range = if delay.most_s - delay.least_s < 0.3 {
        seconds(delay.most_s)
    } else {
        format!("{} to {}", seconds(delay.least_s), seconds(delay.most_s))
    };
    if delay.fails {
        format!("{range}, then fails")
    } else {
        range
    }
}

fn answer(
    whatif: &WhatIf,
    answer: &ChangeAnswer,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in style.wrap(&headline(answer), 0) {
        writeln!(out, "{}", style.strong(&line))?;
    }
    let setup = |servers: &[String], options: &[String]| {
        let mut all = servers.to_vec();
        if !options.is_empty() {
            all.push(format!("(options {})", options.join(" ")));
        }
        escape(&all.join(" ")).into_owned()
    };
    let (was, then) = (
        setup(&whatif.nameservers, &whatif.options),
        setup(&answer.nameservers, &answer.options),
    );
    writeln!(out)?;
    bullet("Resolvers      seen  ", &was, style, out)?;
    bullet("               then  ", &then, style, out)?;
    table(
        "Before",
        answer.delays.iter().map(|d| {
            let id = d.connection.as_ref().or(d.lookup.as_ref());
            let label = format!("{} {}", id.map_or("", String::as_str), d.to);
            (label, d.seen_s, about(d), String::new())
        }),
        style,
        out,
    )?;
    table(
        "Lookup",
        answer.lookups.iter().map(|l| {
            let name = l.name.as_deref().unwrap_or("a name that is not known");
            let label = format!("{} {name}", l.id);
            (label, l.seen_s, then_of(l), waits(l))
        }),
        style,
        out,
    )?;
    assumptions(&answer.assumptions.iter().collect::<Vec<_>>(), style, out)
}

/// `Without resolver 10.0.1.93: about 25.0 s before the SYN to … instead of 33.0 s.`
fn headline(answer: &ChangeAnswer) -> String {
    let Some(first) = answer.delays.first() else {
        return format!("{}.", escape(&answer.change));
    };
    let range = about(&PredictedDelay {
        fails: false,
        ..first.clone()
    });
    let what = if first.connection.is_some() {
        "before the SYN to"
    } else {
        "for"
    };
    let provided = if answer.guessed.is_empty() {
        String::new()
    } else {
        let many = if answer.guessed.len() > 1 { "" } else { "s" };
        format!(
            ", if {} answer{many} at once",
            escape(&answer.guessed.join(", "))
        )
    };
    let failing = if first.fails {
        "; a lookup that was answered would fail"
    } else {
        ""
    };
    format!(
        "{}: about {range} {what} {} instead of {}{provided}{failing}.",
        escape(&answer.change),
        escape(&first.to),
        seconds(first.seen_s)
    )
}

fn then_of(lookup: &PredictedLookup) -> String {
    let time = about(&PredictedDelay {
        connection: None,
        lookup: None,
        to: String::new(),
        seen_s: lookup.seen_s,
        least_s: lookup.least_s,
        most_s: lookup.most_s,
        fails: false,
    });
    match lookup.outcome {
        EstimatedOutcome::NotMade => "not made".into(),
        EstimatedOutcome::Failed => format!("{time}, fails"),
        EstimatedOutcome::Answered | EstimatedOutcome::Negative => time,
    }
}

/// The long waits of a lookup: `glibc: 5, 3, 6 s`.
fn waits(lookup: &PredictedLookup) -> String {
    let long = lookup.waits.iter().filter(|w| w.seconds >= 0.5);
    let text: Vec<String> = long
        .map(|w| {
            format!("{:.1}", w.seconds)
                .trim_end_matches(".0")
                .to_owned()
        })
        .collect();
    let models = lookup
        .models
        .iter()
        .map(|m| m.name())
        .collect::<Vec<_>>()
        .join(" or ");
    match (text.is_empty(), models.is_empty()) {
        (_, true) => String::new(),
        (true, _) => models,
        (false, _) => format!("{models}: {} s", text.join(", ")),
    }
}

/// Rows of a label, seconds seen, what then, and a remark for a line of its own.
fn table(
    head: &str,
    rows: impl ExactSizeIterator<Item = (String, f64, String, String)>,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    const LABEL: usize = 40;
    if rows.len() == 0 {
        return Ok(());
    }
    let hidden = rows.len().saturating_sub(SHOWN);
    let shown: Vec<_> = rows.take(SHOWN).collect();
    let wide = shown.iter().map(|r| width(&r.2)).max().unwrap_or(0).max(8);
    let title = format!("{}{:>10}  {:>wide$}", pad(head, LABEL), "Seen", "Then");
    writeln!(out, "\n{}", style.head(&title))?;
    for (label, seen, then, remark) in shown {
        let label = pad(&fit(&escape(&label), LABEL), LABEL);
        writeln!(out, "{label}{:>10}  {then:>wide$}", seconds(seen))?;
        if !remark.is_empty() {
            bullet("   ", &style.faint(&remark), style, out)?;
        }
    }
    if hidden > 0 {
        writeln!(out, "  and {hidden} more (--format json has all)")?;
    }
    Ok(())
}

fn assumptions(list: &[&String], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", style.head("This rests on"))?;
    for text in list {
        bullet("  - ", &escape(text), style, out)?;
    }
    Ok(())
}
