//! Whether a reproduction is the recorded run again.

use super::{ComparedFinding, Comparison};
use crate::report::FindingId;

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
    /// The slowest wait that both have: recorded, reproduced.
    pub slowest: Option<(f64, f64)>,
}

/// Whether two durations are those of the same wait.
pub fn alike(recorded: f64, reproduced: f64) -> bool {
    let apart = (recorded - reproduced).abs();
    apart <= SECONDS.max(SHARE * recorded.max(reproduced))
}

impl Reproduction {
    /// Of the recorded run and the reproduced one, compared.
    pub fn of(comparison: &Comparison) -> Self {
        let findings = comparison.findings.iter();
        let mut differences: Vec<String> =
            { findings }.filter_map(difference).collect();
        let both = comparison.delays.iter().filter_map(|wait| {
            let (before, after) = (wait.before.as_ref()?, wait.after.as_ref()?);
            Some((wait.what(), before.slowest_s?, after.slowest_s?))
        });
        let mut slowest: Option<(f64, f64)> = None;
        for (what, before, after) in both {
            if !alike(before, after) {
                differences.push(format!(
                    "{what}: {before:.2} s recorded, {after:.2} s reproduced"
                ));
            }
            if slowest.is_none_or(|(most, _)| before > most) {
                slowest = Some((before, after));
            }
        }
        Self {
            same: differences.is_empty(),
            differences,
            slowest,
        }
    }
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
