//! The findings, and the commands that verify the account.

use super::style::{Style, wrap};
use super::{WIDTH, bullet, tables};
use crate::render::evidence;
use crate::render::safe::escape;
use crate::render::words;
use crate::report::{Delay, Finding, FindingId};
use std::collections::HashSet;
use std::io::{self, Write};

/// How many places of each file a finding shows.
const SHOWN: usize = 4;

/// What was concluded, and what to change.
pub fn write(findings: &[Finding], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.head("Findings"))?;
    let mut hinted: HashSet<&str> = HashSet::new();
    let shown = findings.iter().filter(|f| !is_repeated(f, findings));
    for (n, finding) in shown.enumerate() {
        let cost = words::cost(finding);
        bullet(
            &format!("{:>3}. ", n + 1),
            &format!("{}{cost}", escape(&finding.title)),
            out,
        )?;
        if !finding.detail.is_empty() {
            bullet("     ", &escape(&finding.detail), out)?;
        }
        for caller in &finding.callers {
            // Once is enough.
            let hint = caller.hint.as_deref().filter(|h| hinted.insert(*h));
            bullet("     ", &words::caller(caller, hint), out)?;
        }
        if let Some(remedy) = &finding.remedy {
            advice("  => ", remedy, out)?;
        }
        let places: Vec<String> = finding
            .packets
            .iter()
            .chain(&finding.calls)
            .cloned()
            .collect();
        let cited = format!("[{}] {}", finding.id, evidence::short(&places, SHOWN));
        let cited = escape(&cited);
        for line in wrap(&cited, WIDTH - 5) {
            writeln!(out, "     {}", style.faint(&line))?;
        }
    }
    Ok(())
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

/// What to do, with the command to paste on a line of its own.
pub fn advice(mark: &str, remedy: &str, out: &mut dyn Write) -> io::Result<()> {
    let (sentences, command) = words::remedy(remedy);
    bullet(mark, &sentences, out)?;
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
