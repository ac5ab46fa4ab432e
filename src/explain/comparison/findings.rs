//! Findings of two reports, matched: the same conclusion about the same parties, else about some of them.

use super::{Change, ComparedFinding};
use crate::report::{Finding, Party, Report};
use std::collections::BTreeSet;

/// A finding and whom it is about.
struct Named<'a> {
    finding: &'a Finding,
    parties: BTreeSet<&'a Party>,
}

/// Gone and new first, then what changed, then what is the same.
pub fn compare(before: &Report, after: &Report) -> Vec<ComparedFinding> {
    let mut found = Vec::new();
    let mut before = all(before);
    let mut after = all(after);
    for same in [true, false] {
        let mut rest = Vec::new();
        for b in before {
            let partner = after.iter().position(|a| {
                let some = !a.parties.is_disjoint(&b.parties);
                a.finding.id == b.finding.id && if same { a.parties == b.parties } else { some }
            });
            match partner {
                Some(at) => found.push(pair(&FindingPair::Both(
                    b.finding,
                    after.remove(at).finding,
                ))),
                None => rest.push(b),
            }
        }
        before = rest;
    }
    found.extend(before.iter().map(|b| pair(&FindingPair::Before(b.finding))));
    found.extend(after.iter().map(|a| pair(&FindingPair::After(a.finding))));
    let rank = |f: &ComparedFinding| match f.change {
        Change::Gone => 0,
        Change::New => 1,
        Change::Better | Change::Worse | Change::Unknown => 2,
        Change::Same => 3,
    };
    let cost = |f: &ComparedFinding| f.after_s.or(f.before_s).unwrap_or(0.0);
    found.sort_by(|x, y| rank(x).cmp(&rank(y)).then(cost(y).total_cmp(&cost(x))));
    found
}

fn all(report: &Report) -> Vec<Named<'_>> {
    let findings = report.findings.iter();
    findings
        .map(|finding| Named {
            finding,
            parties: finding.parties.iter().collect(),
        })
        .collect()
}

/// A finding of one report or of both.
enum FindingPair<'a> {
    Before(&'a Finding),
    After(&'a Finding),
    Both(&'a Finding, &'a Finding),
}

fn pair(pair: &FindingPair) -> ComparedFinding {
    let (before, after, last) = match *pair {
        FindingPair::Before(finding) => (Some(finding), None, finding),
        FindingPair::After(finding) => (None, Some(finding), finding),
        FindingPair::Both(before, after) => (Some(before), Some(after), after),
    };
    let seconds = |f: Option<&Finding>| f.and_then(|f| f.seconds);
    let (before_s, after_s) = (seconds(before), seconds(after));
    ComparedFinding {
        change: match pair {
            FindingPair::Before(_) => Change::Gone,
            FindingPair::After(_) => Change::New,
            // A finding without seconds costs none.
            FindingPair::Both(..) => Change::of(before_s.unwrap_or(0.0), after_s.unwrap_or(0.0)),
        },
        id: last.id,
        severity: last.severity,
        parties: last.parties.clone(),
        before: before.map(|f| f.title.clone()),
        after: after.map(|f| f.title.clone()),
        before_s,
        after_s,
        remedy: after.and_then(|f| f.remedy.clone()),
    }
}
