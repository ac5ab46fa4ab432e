//! The findings, and the commands that verify the account.

use super::style::Style;
use super::{bullet, tables};
use crate::render::evidence;
use crate::render::safe::escape;
use crate::render::words;
use crate::report::{Delay, Finding, FindingId, Report};
use std::collections::HashSet;
use std::io::{self, Write};

/// How many places of each file a finding shows.
const SHOWN: usize = 4;
/// And how many where the report is to fit a screen.
const SHOWN_BRIEFLY: usize = 2;

/// What was concluded, and what to change. Without `--full`, findings of the same seconds are one, with one remedy; before it
/// stands that of a question that need not be asked, which saves all of them.
pub fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if report.findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.head("Findings"))?;
    let mut hinted: HashSet<&str> = HashSet::new();
    let brief = |f: &Finding| f.same_seconds_as.is_none() && !is_repeated(f, &report.findings);
    let findings = report.findings.iter().enumerate();
    let shown = findings.filter(|(_, f)| style.is_full() || brief(f));
    for (number, (n, finding)) in shown.enumerate() {
        let cost = words::cost(finding);
        let title = format!("{}{cost}", escape(&finding.title));
        bullet(&format!("{:>3}. ", number + 1), &title, style, out)?;
        if style.is_full() {
            detail(finding, &mut hinted, style, out)?;
        } else {
            let same = report
                .findings
                .iter()
                .filter(|f| f.same_seconds_as == Some(n));
            for other in same {
                bullet("     ", &words::same_seconds(other), style, out)?;
                if let Some(remedy) = other.remedy.as_deref().filter(|_| is_needless(other)) {
                    advice("  => ", remedy, style, out)?;
                }
            }
        }
        if let Some(remedy) = &finding.remedy {
            advice("  => ", remedy, style, out)?;
        }
        let places = finding.packets.iter().chain(&finding.calls);
        let places: Vec<String> = places.cloned().collect();
        let cited = if style.is_full() {
            evidence::short(&places, SHOWN)
        } else {
            evidence::in_brief(&places, SHOWN_BRIEFLY)
        };
        let cited = format!("[{}] {cited}", finding.id);
        for line in style.wrap(&escape(&cited), 5) {
            writeln!(out, "     {}", style.faint(&line))?;
        }
    }
    Ok(())
}

/// Whether a finding is about a question that the client could do without.
fn is_needless(finding: &Finding) -> bool {
    matches!(
        finding.id,
        FindingId::ReverseLookup | FindingId::ServerReverseLookup
    )
}

/// Whether a finding says of a server no more than another one of it: that its attempts failed.
fn is_repeated(finding: &Finding, all: &[Finding]) -> bool {
    let says_why = |f: &&Finding| {
        matches!(
            f.id,
            FindingId::ConnectRefused | FindingId::SynUnanswered | FindingId::HostUnreachable
        )
    };
    let same = |f: &Finding| finding.parties.iter().all(|p| f.parties.contains(p));
    finding.id == FindingId::NeverConnected && all.iter().filter(says_why).any(same)
}

/// What stands behind a finding, and who made the calls.
fn detail<'a>(
    finding: &'a Finding,
    hinted: &mut HashSet<&'a str>,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if !finding.detail.is_empty() {
        bullet("     ", &escape(&finding.detail), style, out)?;
    }
    if let Some(at) = finding.same_seconds_as {
        let same = format!("These are the seconds of finding {}, not more.", at + 1);
        bullet("     ", &same, style, out)?;
    }
    for caller in &finding.callers {
        // Once is enough.
        let hint = caller.hint.as_deref().filter(|h| hinted.insert(*h));
        bullet("     ", &words::caller(caller, hint), style, out)?;
    }
    Ok(())
}

/// What to do, with the command to paste on a line of its own.
pub fn advice(mark: &str, remedy: &str, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let (sentences, command) = words::remedy(remedy);
    bullet(mark, &sentences, style, out)?;
    match command {
        Some(command) => writeln!(out, "{:1$}{command}", "", mark.len()),
        None => Ok(()),
    }
}

/// For each entry of an account the commands that show its evidence. The lines are as long as they must be,
/// so that they can be pasted.
pub fn verify(delay: &Delay, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", style.head("To verify"))?;
    for entry in &delay.entries {
        let commands = evidence::commands(entry);
        if commands.is_empty() {
            continue;
        }
        writeln!(
            out,
            "  # {}  {}",
            words::known_seconds(entry.seconds),
            tables::entry_label(entry)
        )?;
        for command in commands {
            writeln!(out, "  {command}")?;
        }
    }
    Ok(())
}
