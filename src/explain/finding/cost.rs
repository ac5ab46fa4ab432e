//! What a finding cost, taken from the accounts, and how much it matters by that.

use super::{Context, Severity};
use crate::explain::ledger::{Account, AccountEntry, ChargedParty, Kind, Subject};
use crate::explain::{Case, lost};
use crate::flow::Endpoint;
use crate::join::QueryId;
use crate::time::Span;
use std::collections::BTreeSet;

/// A cost and the subject whose account has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// How long; `None` where no account has such an entry.
    pub span: Option<Span>,
    /// Whose account.
    pub subject: Option<Subject>,
    /// How long in all accounts, where several have such entries.
    pub total: Option<Span>,
}

/// The sum of matching entries in the main account; where that has none, in the account that has most.
pub fn of(context: &Context, matching: impl Fn(&AccountEntry) -> bool) -> Cost {
    let mut best = Cost::default();
    for (n, account) in context.accounts.iter().enumerate() {
        let mut lines = account.lines.iter().filter(|l| matching(l)).peekable();
        if lines.peek().is_none() {
            continue;
        }
        let sum: Span = lines.map(|l| l.span).sum();
        if best.span.is_none_or(|b| sum > b) {
            best = Cost {
                span: Some(sum),
                subject: Some(account.subject),
                total: None,
            };
        }
        if n == 0 {
            break;
        }
    }
    Cost {
        total: lost::in_all(context.accounts, matching),
        ..best
    }
}

/// What waiting of one kind for some queries cost: of an entry that is for others too, their own part.
pub fn of_queries(context: &Context, kind: Kind, own: &BTreeSet<QueryId>) -> Cost {
    let concerns = |line: &AccountEntry| line.kind == kind && !line.queries.is_disjoint(own);
    let Cost { subject, total, .. } = of(context, concerns);
    let parts = |account: &Account| -> Span {
        let lines = account.lines.iter().filter(|l| concerns(l));
        lines.map(|l| part(context.case, l, own)).sum()
    };
    let account = context.accounts.iter().find(|a| Some(a.subject) == subject);
    let of_all: Span = context.accounts.iter().map(parts).sum();
    Cost {
        span: account.map(parts),
        subject,
        total: total.map(|total| total.min(of_all)),
    }
}

/// The part of an entry that these queries own.
pub fn part(case: &Case, line: &AccountEntry, own: &BTreeSet<QueryId>) -> Span {
    if line.queries.is_subset(own) {
        return line.span;
    }
    let waited: Span = line
        .queries
        .intersection(own)
        .map(|q| case.joined.queries[*q].waited())
        .sum();
    waited.min(line.span)
}

/// What waiting of these kinds for these resolvers or servers cost.
pub fn of_parties(context: &Context, kinds: &[Kind], parties: &[Endpoint]) -> Cost {
    of(context, |line| {
        kinds.contains(&line.kind) && line.concerns(parties)
    })
}

/// The resolvers that were asked at once and waited for at the same time as this one: those seconds are one wait.
pub fn shared_with(context: &Context, resolver: Endpoint) -> Vec<Endpoint> {
    let lines = context.accounts.iter().flat_map(|a| &a.lines);
    let shared = lines.filter(|l| !l.with.is_empty() && l.concerns(&[resolver]));
    let all = shared.flat_map(|l| {
        let leader = match l.party {
            Some(ChargedParty::Endpoint(leader)) => Some(leader),
            _ => None,
        };
        leader.into_iter().chain(l.with.iter().copied())
    });
    let others: BTreeSet<Endpoint> = all.filter(|e| *e != resolver).collect();
    others.into_iter().collect()
}

/// Seconds, or the connection: high; tenths of a second: medium; less: low.
pub fn severity(cost: Option<Span>, failed: bool) -> Severity {
    match cost.unwrap_or_default() {
        c if failed || c >= Span::seconds(1) => Severity::High,
        c if c >= Span::millis(100) => Severity::Medium,
        _ => Severity::Low,
    }
}

/// What failed within a tenth of a second is not grave by the time it took.
pub fn by_seconds(severity: Severity, cost: Option<Span>) -> Severity {
    match (severity, cost) {
        (Severity::High, Some(cost)) if cost < Span::millis(100) => Severity::Medium,
        _ => severity,
    }
}

/// The same for what is no fault: below a tenth of a second it is only good to know.
pub fn severity_of_habit(cost: Option<Span>) -> Severity {
    match severity(cost, false) {
        Severity::Low => Severity::Info,
        other => other,
    }
}
