//! Findings of two reports, matched: the same conclusion about the same parties, else about some of them.

use super::{Change, Found};
use crate::report::{Finding, Report};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// A finding and whom it accuses.
struct Named<'a> {
    finding: &'a Finding,
    parties: BTreeSet<&'a str>,
}

/// Gone and new first, then what changed, then what is the same.
pub fn compare(before: &Report, after: &Report) -> Vec<Found> {
    let mut known = names(before);
    known.extend(names(after));
    let mut found = Vec::new();
    let mut before = all(before, &known);
    let mut after = all(after, &known);
    for same in [true, false] {
        let mut rest = Vec::new();
        for b in before {
            let partner = after.iter().position(|a| {
                let some = !a.parties.is_disjoint(&b.parties);
                a.finding.id == b.finding.id && if same { a.parties == b.parties } else { some }
            });
            match partner {
                Some(at) => found.push(pair(Some(b.finding), Some(after.remove(at).finding))),
                None => rest.push(b),
            }
        }
        before = rest;
    }
    found.extend(before.iter().map(|b| pair(Some(b.finding), None)));
    found.extend(after.iter().map(|a| pair(None, Some(a.finding))));
    let rank = |f: &Found| match f.change {
        Change::Gone => 0,
        Change::New => 1,
        Change::Better | Change::Worse => 2,
        Change::Same => 3,
    };
    let cost = |f: &Found| f.after_s.or(f.before_s).unwrap_or(0.0);
    found.sort_by(|x, y| rank(x).cmp(&rank(y)).then(cost(y).total_cmp(&cost(x))));
    found
}

/// What a title may name, beside addresses.
fn names(report: &Report) -> BTreeSet<&str> {
    let lookups = report.lookups.iter().map(|l| &*l.name);
    let entries = report.delays.iter().flat_map(|d| &d.entries);
    lookups
        .chain(entries.filter_map(|e| e.party.as_deref()))
        .collect()
}

fn all<'a>(report: &'a Report, known: &BTreeSet<&str>) -> Vec<Named<'a>> {
    report
        .findings
        .iter()
        .map(|finding| Named {
            finding,
            parties: finding
                .title
                .split_whitespace()
                .map(|word| word.trim_matches(['(', ')', ',', ';', ':', '.']))
                .filter(|word| {
                    word.parse::<IpAddr>().is_ok()
                        || word.parse::<SocketAddr>().is_ok()
                        || known.contains(word)
                })
                .collect(),
        })
        .collect()
}

fn pair(before: Option<&Finding>, after: Option<&Finding>) -> Found {
    let seconds = |f: Option<&Finding>| f.and_then(|f| f.seconds);
    let (before_s, after_s) = (seconds(before), seconds(after));
    let change = match (before, after) {
        (Some(_), None) => Change::Gone,
        (None, _) => Change::New,
        _ => Change::of(before_s.unwrap_or(0.0), after_s.unwrap_or(0.0)),
    };
    let text = |of: fn(&Finding) -> &String| after.or(before).map(of).cloned().unwrap_or_default();
    Found {
        change,
        id: text(|f| &f.id),
        severity: text(|f| &f.severity),
        before: before.map(|f| f.title.clone()),
        after: after.map(|f| f.title.clone()),
        before_s,
        after_s,
        remedy: after.and_then(|f| f.remedy.clone()),
    }
}
