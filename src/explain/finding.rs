//! Conclusions, one file each: its test, its words, its remedy, and the page that `presyn explain` shows.

mod aaaa_silent;
mod address_fallback;
mod answer_late;
mod attempt;
mod capture_incomplete;
mod connect_refused;
mod cost;
pub mod coverage;
mod encrypted_dns;
mod host_unreachable;
mod io_uring;
mod name_not_found;
mod name_service_wait;
mod never_connected;
mod nothing_wrong;
mod resolver_error;
mod resolver_lossy;
mod resolver_refused;
mod resolver_silent;
mod resolver_slow;
mod resolver_tcp_stuck;
mod resolver_unreachable;
mod reverse_lookup;
mod search_domains;
mod stub_upstream_silent;
mod syn_unanswered;
pub mod tally;
mod truncated_to_tcp;

use super::ledger::{Account, Subject};
use super::{Case, cite, stack};
use crate::join::EventId;
use crate::report;
use crate::time::Span;
use std::cmp::Reverse;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Costs little, or may.
    Low,
    /// Costs something, or a part of the answer is in doubt.
    Medium,
    /// Costs seconds, or the connection.
    High,
}

impl Severity {
    /// The stable name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A conclusion before it is written into the report.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Stable id.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Option<Subject>,
    /// One line.
    pub title: String,
    /// Some lines.
    pub detail: String,
    /// What it cost.
    pub cost: Option<Span>,
    /// What to do.
    pub remedy: Option<String>,
    /// Calls and packets.
    pub evidence: Vec<EventId>,
}

/// A conclusion as the report has it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was concluded.
    pub draft: Draft,
    /// How the report says it.
    pub report: report::Finding,
}

/// What `presyn explain ID` shows.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Stable id.
    pub id: &'static str,
    /// What it means and what to do, some paragraphs.
    pub text: &'static str,
}

/// Everything a finding may look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The case.
    pub case: &'a Case<'a>,
    /// The accounts, slowest first.
    pub accounts: &'a [Account],
}

/// One finding: its page and its test.
type Kind = (Page, fn(&Context) -> Vec<Draft>);

/// Every finding there is.
const ALL: &[Kind] = &[
    (resolver_silent::PAGE, resolver_silent::find),
    (resolver_lossy::PAGE, resolver_lossy::find),
    (resolver_refused::PAGE, resolver_refused::find),
    (resolver_slow::PAGE, resolver_slow::find),
    (resolver_error::PAGE, resolver_error::find),
    (resolver_unreachable::PAGE, resolver_unreachable::find),
    (answer_late::PAGE, answer_late::find),
    (aaaa_silent::PAGE, aaaa_silent::find),
    (truncated_to_tcp::PAGE, truncated_to_tcp::find),
    (resolver_tcp_stuck::PAGE, resolver_tcp_stuck::find),
    (search_domains::PAGE, search_domains::find),
    (reverse_lookup::PAGE, reverse_lookup::find),
    (stub_upstream_silent::PAGE, stub_upstream_silent::find),
    (name_service_wait::PAGE, name_service_wait::find),
    (name_not_found::PAGE, name_not_found::find),
    (syn_unanswered::PAGE, syn_unanswered::find),
    (connect_refused::PAGE, connect_refused::find),
    (host_unreachable::PAGE, host_unreachable::find),
    (address_fallback::PAGE, address_fallback::find),
    (never_connected::PAGE, never_connected::find),
    (io_uring::PAGE, io_uring::find),
    (encrypted_dns::PAGE, encrypted_dns::find),
    (capture_incomplete::PAGE, capture_incomplete::find),
];

/// Findings of one kind that a report holds; a case with more has them all for one reason.
const MAX_OF_A_KIND: usize = 20;

/// The pages of all findings.
pub fn pages() -> impl Iterator<Item = Page> {
    ALL.iter()
        .map(|(page, _)| *page)
        .chain([nothing_wrong::PAGE])
}

/// Draws all conclusions, in order of the seconds they cost, then of severity.
pub fn all(case: &Case, accounts: &[Account]) -> Vec<Finding> {
    let context = Context { case, accounts };
    let mut drafts: Vec<Draft> = Vec::new();
    for (_, find) in ALL {
        let mut some = find(&context);
        some.sort_by_key(rank);
        some.truncate(MAX_OF_A_KIND);
        drafts.append(&mut some);
    }
    coverage::hedge(case, &mut drafts);
    let nothing = nothing_wrong::find(&context, &drafts);
    drafts.extend(nothing);
    drafts.sort_by_key(rank);
    drafts
        .into_iter()
        .map(|draft| Finding {
            report: write(case, &draft),
            draft,
        })
        .collect()
}

/// The dearest first, then the gravest.
fn rank(draft: &Draft) -> Reverse<(Option<Span>, Severity)> {
    Reverse((draft.cost, draft.severity))
}

fn write(case: &Case, draft: &Draft) -> report::Finding {
    let (calls, packets) = cite::split(case, draft.evidence.iter().copied());
    report::Finding {
        id: draft.id.into(),
        severity: draft.severity.name().into(),
        subject: draft.subject.map(|s| match s {
            Subject::Connection(c) => cite::connection_id(c),
            Subject::Lookup(l) => cite::lookup_id(l),
        }),
        title: draft.title.clone(),
        detail: draft.detail.clone(),
        seconds: draft.cost.map(|c| cite::seconds(c.as_seconds())),
        remedy: draft.remedy.clone(),
        callers: stack::callers(case, draft.evidence.iter().copied()),
        calls,
        packets,
    }
}
