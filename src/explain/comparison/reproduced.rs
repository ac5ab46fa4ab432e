//! Whether a reproduction is the recorded run again.

use super::{Change, ComparedFinding, Comparison, WaitComparison};
use crate::report::{FindingId, Report};

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
    /// Of the recorded run and the reproduced one.
    pub fn of(recorded: &Report, comparison: &Comparison) -> Self {
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
        Self {
            same: differences.is_empty(),
            differences,
            also_seen,
            slowest,
        }
    }
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
