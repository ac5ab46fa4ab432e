//! The totals of a run: the seconds lost over all subjects, each once.

use super::ledger::{Account, AccountEntry, ChargedParty, Slice};
use super::{Case, cite};
use crate::join::LookupId;
use crate::report;
use crate::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many resolvers and names the totals list each.
const MAX_ROWS: usize = 20;

/// How much of the time some intervals cover.
fn covered(mut intervals: Vec<(Timestamp, Timestamp)>) -> Span {
    intervals.sort_unstable();
    let mut sum = Span::ZERO;
    let mut until: Option<Timestamp> = None;
    for (from, to) in intervals {
        let from = until.map_or(from, |until| from.max(until));
        if to > from {
            sum = sum + (to - from);
        }
        until = until.max(Some(to));
    }
    sum
}

/// What matching entries of all accounts cost, each second once; `None` where fewer than two accounts have one, for then
/// the account itself says it.
pub fn in_all(accounts: &[Account], matching: impl Fn(&AccountEntry) -> bool) -> Option<Span> {
    let of = |a: &Account| -> Vec<(Timestamp, Timestamp)> {
        let fitting = a.moments.iter().filter(|m| matching(&a.lines[m.line]));
        fitting.map(|m| (m.from, m.to)).collect()
    };
    let lists: Vec<_> = accounts.iter().map(of).filter(|l| !l.is_empty()).collect();
    (lists.len() > 1).then(|| covered(lists.concat()))
}

/// The waits of one resolver or name.
#[derive(Default)]
struct WaitRow {
    intervals: Vec<(Timestamp, Timestamp)>,
    subjects: u64,
    last_subject: Option<usize>,
}

impl WaitRow {
    fn add(&mut self, subject: usize, moment: &Slice) {
        self.intervals.push((moment.from, moment.to));
        if self.last_subject != Some(subject) {
            self.subjects += 1;
            self.last_subject = Some(subject);
        }
    }
}

/// The totals of several subjects that waited; `None` for one, whose account says all.
pub fn totals(case: &Case, accounts: &[Account], left_out: usize) -> Option<report::Totals> {
    let mut by_party: BTreeMap<ChargedParty, WaitRow> = BTreeMap::new();
    let mut by_lookup: BTreeMap<LookupId, WaitRow> = BTreeMap::new();
    let mut all = WaitRow::default();
    for (n, account) in accounts.iter().enumerate() {
        for moment in &account.moments {
            let line = &account.lines[moment.line];
            if !line.kind.is_wait() {
                continue;
            }
            all.add(n, moment);
            let with = line.with.iter().map(|e| ChargedParty::Endpoint(*e));
            for party in line.party.into_iter().chain(with) {
                by_party.entry(party).or_default().add(n, moment);
            }
            if let Some(lookup) = moment.lookup {
                by_lookup.entry(lookup).or_default().add(n, moment);
            }
        }
    }
    if all.subjects < 2 || !case.evidence.is_timed() {
        return None;
    }
    let mut by_name: BTreeMap<String, WaitRow> = BTreeMap::new();
    for (lookup, row) in by_lookup {
        if let Some(name) = case.joined.lookups[lookup].shown_name() {
            let of_name = by_name.entry(name).or_default();
            of_name.intervals.extend(row.intervals);
            of_name.subjects += row.subjects;
        }
    }
    let parties = by_party.into_iter().map(|(p, row)| (p.to_string(), row));
    Some(report::Totals {
        subjects: all.subjects,
        lost_s: seconds(all.intervals),
        parties: rows(parties),
        names: rows(by_name.into_iter()),
        at_least: left_out > 0 || case.evidence.only_lower_bounds(),
    })
}

fn seconds(intervals: Vec<(Timestamp, Timestamp)>) -> f64 {
    cite::seconds(covered(intervals).as_seconds())
}

/// Rows of the totals, the dearest first.
fn rows(list: impl Iterator<Item = (String, WaitRow)>) -> Vec<report::Lost> {
    let mut rows: Vec<(Span, report::Lost)> = list
        .map(|(what, row)| {
            let lost = covered(row.intervals);
            let lost_s = cite::seconds(lost.as_seconds());
            let subjects = row.subjects;
            (
                lost,
                report::Lost {
                    what,
                    lost_s,
                    subjects,
                },
            )
        })
        .collect();
    rows.sort_by_key(|(lost, _)| Reverse(*lost));
    rows.truncate(MAX_ROWS);
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_in_which_two_waited_counts_once() {
        let at = |s: i64| Timestamp(Span::seconds(s).0);
        let of =
            |list: &[(i64, i64)]| covered(list.iter().map(|(a, b)| (at(*a), at(*b))).collect());
        assert_eq!(of(&[]), Span::ZERO);
        assert_eq!(of(&[(5, 10), (0, 5), (10, 15)]), Span::seconds(15));
        assert_eq!(of(&[(0, 5), (0, 5), (1, 6)]), Span::seconds(6));
        assert_eq!(of(&[(0, 9), (1, 2), (20, 21)]), Span::seconds(10));
    }
}
