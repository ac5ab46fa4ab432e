//! Conclusions, one file each: its test, its words, its remedy, and the page that `presyn explain` shows.

pub mod coverage;

use super::ledger::{Account, Subject};
use super::{Case, assemble, cite};
use crate::join::EventId;
use crate::report;
use crate::time::Span;

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
const ALL: &[Kind] = &[];

/// The pages of all findings.
pub fn pages() -> impl Iterator<Item = Page> {
    ALL.iter().map(|(page, _)| *page)
}

/// Draws all conclusions, in order of the seconds they cost, then of severity.
pub fn all(case: &Case, accounts: &[Account]) -> Vec<Finding> {
    let context = Context { case, accounts };
    let mut drafts: Vec<Draft> = ALL.iter().flat_map(|(_, find)| find(&context)).collect();
    drafts.sort_by(|a, b| (b.cost, b.severity).cmp(&(a.cost, a.severity)));
    drafts
        .into_iter()
        .map(|draft| Finding {
            report: write(case, &draft),
            draft,
        })
        .collect()
}

fn write(case: &Case, draft: &Draft) -> report::Finding {
    let (calls, packets) = cite::split(case, draft.evidence.iter().copied());
    report::Finding {
        id: draft.id.into(),
        severity: draft.severity.name().into(),
        subject: draft.subject.map(|s| match s {
            Subject::Connection(c) => assemble::connection_id(c),
            Subject::Lookup(l) => assemble::lookup_id(l),
        }),
        title: draft.title.clone(),
        detail: draft.detail.clone(),
        seconds: draft.cost.map(|c| cite::seconds(c.as_seconds())),
        remedy: draft.remedy.clone(),
        calls,
        packets,
    }
}
