//! Whether a reproduction is the recorded run again.

use super::{Answers, Change, ComparedFinding, Comparison, PartKind, WaitComparison};
use crate::report::{ConnectionOutcome, FindingId, LookupOutcome, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Two runs of one client differ by as much: this share of the longer,
const SHARE: f64 = 0.1;
/// or so many seconds.
const SECONDS: f64 = 0.3;

/// What came of a reproduction.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// The findings are the same, and cost as much.
    pub same: bool,
    /// What differs, a line each.
    pub differences: Vec<String>,
    /// Findings of the reproduction that the recording, a capture or a trace alone, may not have shown.
    pub also_seen: Vec<String>,
    /// The slowest wait that both have: recorded, reproduced.
    pub slowest: Option<(f64, f64)>,
}

/// Whether two durations are those of the same wait.
pub fn alike(recorded: f64, reproduced: f64) -> bool {
    let apart = (recorded - reproduced).abs();
    apart <= SECONDS.max(SHARE * recorded.max(reproduced))
}

/// A prediction beside what a reproduction measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// What was changed.
    pub what: String,
    /// Seconds predicted, at least and at most.
    pub predicted: (f64, f64),
    /// Seconds measured; `None`: the client never got so far.
    pub measured: Option<f64>,
}

impl Proof {
    /// Whether the measurement is what was predicted.
    pub fn holds(&self) -> bool {
        let (least, most) = self.predicted;
        self.measured.is_some_and(|measured| {
            (least..=most).contains(&measured) || alike(least, measured) || alike(most, measured)
        })
    }
}

impl Reproduction {
    /// Of the recorded run, the reproduced one, and how they compare.
    pub fn of(recorded: &Report, reproduced: &Report, comparison: &Comparison) -> Self {
        let inputs = &recorded.inputs;
        let one_sided = inputs.captures.is_empty() || inputs.traces.is_empty();
        let (new, others): (Vec<_>, Vec<_>) =
            { comparison.findings.iter() }.partition(|f| f.change == Change::New && one_sided);
        let mut differences: Vec<String> = others.into_iter().filter_map(difference).collect();
        let also_seen = new.into_iter().filter_map(|f| f.after.clone()).collect();
        let mut slowest: Option<(f64, f64)> = None;
        for wait in &comparison.delays {
            let times = (wait.before.as_ref(), wait.after.as_ref());
            let (Some(before), Some(after)) = times else {
                continue;
            };
            if has_port(&before.what) && !has_port(&after.what) {
                differences.push(format!("{}: the client did not connect", before.what));
            }
            let (others_before, others_after) = for_others(wait);
            if !alike(others_before, others_after) {
                differences.push(format!(
                    "{}: {others_before:.2} s of waiting recorded, {others_after:.2} s reproduced",
                    wait.what()
                ));
            }
            let (before_s, after_s) = seconds_of(wait, |kind| kind == PartKind::Unexplained);
            if !alike(before_s, after_s) {
                differences.push(format!(
                    "{}: {before_s:.2} s unexplained in the recording, {after_s:.2} s in the reproduction",
                    wait.what()
                ));
            }
            if let (Some(before), Some(after)) = (before.slowest_s, after.slowest_s)
                && slowest.is_none_or(|(most, _)| before > most)
            {
                slowest = Some((before, after));
            }
        }
        differences.extend(never_tried(&comparison.delays));
        differences.extend(nothing_in_common(comparison));
        differences.extend(other_ends(&lookups(recorded), &lookups(reproduced)));
        differences.extend(other_ends(&connections(recorded), &connections(reproduced)));
        Self {
            same: differences.is_empty(),
            differences,
            also_seen,
            slowest,
        }
    }
}

/// Of what only the recording has, whatever waited for others, and the slowest of all: a client that asked for something else,
/// or for nothing, is not that client again.
fn never_tried(delays: &[WaitComparison]) -> Vec<String> {
    let seconds = |wait: &WaitComparison| {
        wait.before
            .as_ref()
            .and_then(|b| b.slowest_s)
            .unwrap_or(0.0)
    };
    let recorded = delays.iter().filter(|wait| wait.before.is_some());
    let slowest = recorded.max_by(|a, b| seconds(a).total_cmp(&seconds(b)));
    let missing = delays.iter().filter(|wait| wait.after.is_none());
    let of_weight = missing.filter(|wait| {
        for_others(wait).0 > SECONDS || slowest.is_some_and(|slowest| std::ptr::eq(*wait, slowest))
    });
    { of_weight.filter_map(|wait| wait.before.as_ref()) }
        .map(|before| {
            let verb = if has_port(&before.what) {
                "connect"
            } else {
                "look that up"
            };
            format!("{}: the client did not {verb}", before.what)
        })
        .collect()
}

/// Where no name and no server is in both runs: the resolvers that were asked in the recording only.
fn nothing_in_common(comparison: &Comparison) -> Vec<String> {
    let both = |wait: &WaitComparison| wait.before.is_some() && wait.after.is_some();
    if comparison.delays.iter().any(both) {
        return Vec::new();
    }
    let asked = |answers: &Option<Answers>| {
        let queries = answers.as_ref().and_then(|a| a.queries);
        queries.is_some_and(|n| n > 0)
    };
    let only = { comparison.resolvers.iter() }
        .filter(|r| !r.untraced && asked(&r.before) && !asked(&r.after));
    only.map(|r| format!("{}: the client did not ask it", r.address))
        .collect()
}

/// How everything that was tried ended, by name or address.
type Ends<T> = BTreeMap<String, BTreeSet<T>>;

fn lookups(report: &Report) -> Ends<LookupOutcome> {
    let mut ends = Ends::new();
    for lookup in &report.lookups {
        if let (Some(name), Some(end)) = (&lookup.name, lookup.outcome)
            && end != LookupOutcome::Open
        {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            ends.entry(name).or_default().insert(end);
        }
    }
    ends
}

fn connections(report: &Report) -> Ends<ConnectionOutcome> {
    let mut ends = Ends::new();
    for connection in &report.connections {
        if let Some(end) = connection.outcome.filter(|e| *e != ConnectionOutcome::Open) {
            ends.entry(connection.to.clone()).or_default().insert(end);
        }
    }
    ends
}

/// What ended otherwise each time than it ever did in the recording.
fn other_ends<T: Ord + Display>(recorded: &Ends<T>, reproduced: &Ends<T>) -> Vec<String> {
    let words = |ends: &BTreeSet<T>| {
        let words: Vec<String> = ends.iter().map(ToString::to_string).collect();
        words.join(", ")
    };
    let both = { recorded.iter() }.filter_map(|(what, b)| Some((what, b, reproduced.get(what)?)));
    both.filter(|(_, before, after)| before.is_disjoint(after))
        .map(|(what, before, after)| {
            format!(
                "{what}: {} recorded, {} reproduced",
                words(before),
                words(after)
            )
        })
        .collect()
}

/// Whether a server is meant, and not only a name.
fn has_port(what: &str) -> bool {
    what.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// How long the slowest waited for others, before and after: what the program itself takes depends on the machine.
fn for_others(wait: &WaitComparison) -> (f64, f64) {
    seconds_of(wait, PartKind::is_wait)
}

/// The seconds of such parts of the slowest, before and after, without the program's own start.
fn seconds_of(wait: &WaitComparison, of: impl Fn(PartKind) -> bool) -> (f64, f64) {
    let parts = { wait.parts.iter() }
        .filter(|part| of(part.kind) && (part.kind.is_wait() || !part.start_up));
    parts.fold((0.0, 0.0), |(before, after), part| {
        (
            before + part.before_s.unwrap_or(0.0),
            after + part.after_s.unwrap_or(0.0),
        )
    })
}

/// What is different about a finding; `None`: nothing that matters.
fn difference(finding: &ComparedFinding) -> Option<String> {
    if is_of_recording(finding.id) {
        return None;
    }
    let title = |text: &Option<String>| text.clone().unwrap_or_default();
    match (&finding.before, &finding.after) {
        (Some(_), None) => Some(format!("not reproduced: {}", title(&finding.before))),
        (None, Some(_)) => Some(format!("new: {}", title(&finding.after))),
        _ => {
            let (before, after) = (finding.before_s?, finding.after_s?);
            (!alike(before, after)).then(|| {
                format!(
                    "{}: {before:.2} s recorded, {after:.2} s reproduced",
                    title(&finding.after)
                )
            })
        }
    }
}

/// Whether a finding is about what the inputs could show: the recording's and the reproduction's differ in that.
fn is_of_recording(id: FindingId) -> bool {
    id == FindingId::CaptureIncomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(list: &[(&str, LookupOutcome)]) -> Ends<LookupOutcome> {
        let mut ends = Ends::new();
        for (name, end) in list {
            ends.entry((*name).to_owned()).or_default().insert(*end);
        }
        ends
    }

    #[test]
    fn what_ended_otherwise_is_different() {
        use LookupOutcome::{Answered, Failed, Negative};
        let recorded = ends(&[
            ("a", Answered),
            ("b", Failed),
            ("b", Answered),
            ("c", Negative),
        ]);
        let found = |list| other_ends(&recorded, &ends(list));
        assert_eq!(
            found(&[("a", Answered), ("b", Answered), ("c", Negative)]),
            [""; 0]
        );
        assert_eq!(found(&[("d", Failed)]), [""; 0], "that was not recorded");
        assert_eq!(
            found(&[("a", Failed), ("a", Negative), ("b", Failed)]),
            ["a: answered recorded, negative, failed reproduced"]
        );
        assert_eq!(
            found(&[("b", Negative)]),
            ["b: answered, failed recorded, negative reproduced"]
        );
    }
}
