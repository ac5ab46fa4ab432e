//! Cases as rows of text, for tests: what the account, the findings and a change make of them. See [`crate::join::rows`] for
//! the rows.

use super::assemble::{self, Limits};
use super::ledger::{Account, Index, Subject};
use super::scenario::{Scenario, ScenarioError};
use super::stack::Stacks;
use super::whatif::{Change, WhatIfModel};
use super::{Case, finding, verdict, words};
use crate::event::EventKind;
use crate::join::rows::Rows;
use crate::report::Report;
use crate::time::Span;
use crate::totals::EvictedTotals;

/// Hands the case of some rows and its accounts, slowest first, to a test.
fn explained<T>(text: &str, test: impl FnOnce(&Case, &[Account]) -> T) -> T {
    let rows = Rows::read(text);
    let evidence = rows.evidence();
    let first = evidence
        .events
        .iter()
        .find(|e| matches!(e.what, EventKind::Call(_)));
    let case = Case {
        evidence,
        joined: &rows.join(),
        stacks: &Stacks::default(),
        started: first.unwrap_or(&evidence.events[0]).at,
        dated: false,
        config: rows.conf.as_ref().map(|conf| ("resolv.conf", conf)),
        environment: &[],
        hosts: None,
        totals: &EvictedTotals::default(),
        target: None,
        stored: true,
    };
    let mut index = Index::new(&case);
    let (accounts, _) = assemble::accounts(&case, &mut index, Limits::BOUNDED);
    test(&case, &accounts)
}

/// Every account, slowest first: `SUBJECT SECONDS`, then its entries in order, `SECONDS KIND PARTY`. Their seconds must add
/// up to the whole, and no moment may be in two of them.
pub fn ledger(text: &str) -> Vec<String> {
    explained(text, |case, accounts| {
        accounts
            .iter()
            .flat_map(|account| {
                let sum: Span = account.lines.iter().map(|l| l.span).sum();
                assert_eq!(
                    sum,
                    account.total(),
                    "entries add up to the account: {text}"
                );
                for pair in account.moments.windows(2) {
                    assert!(
                        pair[0].to <= pair[1].from,
                        "a moment in two entries: {text}"
                    );
                }
                let subject = match account.subject {
                    Subject::Connection(c) => case.joined.connections[c].to.to_string(),
                    Subject::Lookup(l) => words::spoken_name(&case.joined.lookups[l]),
                };
                let entries = account.lines.iter().map(|line| {
                    let own = line.party.map(|p| format!(" {p}"));
                    let with = line.with.iter().map(|e| format!(" + {e}"));
                    let parties: Vec<String> = own.into_iter().chain(with).collect();
                    format!("{} {}{}", seconds(line.span), line.kind, parties.concat())
                });
                let head = format!("{subject} {}", seconds(account.total()));
                [head].into_iter().chain(entries).collect::<Vec<_>>()
            })
            .collect()
    })
}

/// What a reproduction would play.
pub fn scenario(text: &str) -> Result<Scenario, ScenarioError> {
    explained(text, |case, _| Scenario::of(case))
}

/// The report.
pub fn report(text: &str) -> Report {
    explained(text, |case, _| assemble::report(case, &[], Limits::BOUNDED))
}

/// The sentences of the answer.
pub fn answer(text: &str) -> Vec<String> {
    explained(text, |case, accounts| {
        verdict::sentences(case, accounts, &finding::all(case, accounts))
    })
}

/// The titles of the findings, dearest first.
pub fn titles(text: &str) -> Vec<String> {
    explained(text, |case, accounts| {
        let findings = finding::all(case, accounts).into_iter();
        findings.map(|f| f.draft.title).collect()
    })
}

/// The notes of the entries of the slowest account.
pub fn notes(text: &str) -> Vec<String> {
    explained(text, |case, accounts| {
        let entries = accounts[0].lines.iter();
        entries
            .filter_map(|line| assemble::note(case, line))
            .collect()
    })
}

/// The findings, dearest first: `ID` and whom each is about.
pub fn findings(text: &str) -> Vec<String> {
    explained(text, |case, accounts| {
        finding::all(case, accounts)
            .iter()
            .map(|f| {
                let parties = f.report.parties.iter();
                let parties = parties.filter_map(|p| p.address.clone().or(p.name.clone()));
                let words: Vec<String> = [f.report.id.to_string()]
                    .into_iter()
                    .chain(parties)
                    .collect();
                words.join(" ")
            })
            .collect()
    })
}

/// What a change would make of the slowest account: at least and at most, in seconds.
pub fn predicted(text: &str, change: Change) -> (f64, f64) {
    explained(text, |case, accounts| {
        let tried = WhatIfModel::new(case).tried(&accounts[0], change).unwrap();
        (tried.least.as_seconds(), tried.most.as_seconds())
    })
}

fn seconds(span: Span) -> String {
    format!("{}", span.as_seconds())
}
