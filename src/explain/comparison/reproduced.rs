//! Whether a reproduction is the recorded run again.

use super::{AttemptTimes, Change, ComparedFinding, Comparison, WaitComparison};
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
            if let (Some(before), Some(after)) = (before.slowest_s, after.slowest_s)
                && slowest.is_none_or(|(most, _)| before > most)
            {
                slowest = Some((before, after));
            }
        }
        differences.extend(never_tried(&comparison.delays));
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

/// Of what only the recording has, the slowest of all and whatever waited for others: a client that asked for something else,
/// or for nothing, is not that client again.
fn never_tried(delays: &[WaitComparison]) -> impl Iterator<Item = String> {
    let seconds = |times: &AttemptTimes| times.slowest_s.unwrap_or(0.0);
    let recorded = delays.iter().filter_map(|wait| wait.before.as_ref());
    let longest = recorded.map(seconds).fold(0.0, f64::max);
    let missing = delays.iter().filter(|wait| wait.after.is_none());
    missing.filter_map(move |wait| {
        let before = wait.before.as_ref()?;
        let matters = seconds(before) >= longest || for_others(wait).0 > SECONDS;
        let verb = if has_port(&before.what) {
            "connect"
        } else {
            "look that up"
        };
        matters.then(|| format!("{}: the client did not {verb}", before.what))
    })
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
    let waits = wait.parts.iter().filter(|part| part.kind.is_wait());
    waits.fold((0.0, 0.0), |(before, after), part| {
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
