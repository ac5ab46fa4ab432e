//! Conclusions, one file each: its test, its words, its remedy, and the page that `presyn explain` shows.

mod aaaa_silent;
mod address_fallback;
mod answer_late;
mod answer_not_received;
mod arp_unanswered;
pub mod attempt;
mod capture_incomplete;
mod challenge_ack;
mod connect_refused;
mod cost;
pub mod coverage;
mod encrypted_dns;
mod group;
mod host_unreachable;
mod io_uring;
mod multicast_lookup;
mod name_not_found;
mod name_service_wait;
mod never_connected;
mod nothing_wrong;
mod parties;
mod quic;
mod resolver_error;
mod resolver_lossy;
mod resolver_refused;
mod resolver_silent;
mod resolver_slow;
mod resolver_tcp_stuck;
mod resolver_unreachable;
mod reverse_lookup;
mod search_domains;
mod server_reverse_lookup;
pub mod stub_upstream_silent;
mod syn_ack_ignored;
mod syn_ack_slow;
mod syn_unanswered;
pub mod tally;
mod truncated_to_tcp;

use super::ledger::{Account, Subject};
use super::{Case, cite, stack};
use crate::join::EventId;
use crate::report::{self, Party};
pub use crate::report::{FindingId, Severity};
use crate::time::Span;
use std::cmp::Reverse;

/// A conclusion before it is written into the report.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Which one.
    pub id: FindingId,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Option<Subject>,
    /// Whom it accuses or explains.
    pub parties: Vec<Party>,
    /// One line.
    pub title: String,
    /// Some lines.
    pub detail: String,
    /// What it cost its subject.
    pub cost: Option<Span>,
    /// What it cost all subjects together, where several paid.
    pub total: Option<Span>,
    /// What to do.
    pub remedy: Option<String>,
    /// Calls and packets.
    pub evidence: Vec<EventId>,
}

/// The words of a conclusion, and what shows it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// One line.
    pub title: String,
    /// Some lines.
    pub detail: String,
    /// What to do.
    pub remedy: String,
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

/// What holds of a finding in every case, and what `presyn explain ID` shows.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Which one.
    pub id: FindingId,
    /// A lost packet could refute it: its severity is lowered where the capture lacks some.
    pub rests_on_absence: bool,
    /// It changes the answer itself: its title is a sentence of the summary.
    pub in_summary: bool,
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

/// The test of a finding.
type Find = fn(&Context) -> Vec<Draft>;

/// A finding's page and its test; `None`: it is drawn from what the others found. A finding without a file does not
/// compile.
fn definition(id: FindingId) -> (Page, Option<Find>) {
    macro_rules! in_file {
        ($file:ident) => {
            ($file::PAGE, Some($file::find))
        };
    }
    match id {
        FindingId::ResolverSilent => in_file!(resolver_silent),
        FindingId::ResolverLossy => in_file!(resolver_lossy),
        FindingId::ResolverRefused => in_file!(resolver_refused),
        FindingId::ResolverSlow => in_file!(resolver_slow),
        FindingId::ResolverError => in_file!(resolver_error),
        FindingId::ResolverUnreachable => in_file!(resolver_unreachable),
        FindingId::AnswerLate => in_file!(answer_late),
        FindingId::AnswerNotReceived => in_file!(answer_not_received),
        FindingId::AaaaSilent => in_file!(aaaa_silent),
        FindingId::TruncatedToTcp => in_file!(truncated_to_tcp),
        FindingId::ResolverTcpStuck => in_file!(resolver_tcp_stuck),
        FindingId::SearchDomains => in_file!(search_domains),
        FindingId::ReverseLookup => in_file!(reverse_lookup),
        FindingId::StubUpstreamSilent => in_file!(stub_upstream_silent),
        FindingId::NameServiceWait => in_file!(name_service_wait),
        FindingId::NameNotFound => in_file!(name_not_found),
        FindingId::SynUnanswered => in_file!(syn_unanswered),
        FindingId::SynAckIgnored => in_file!(syn_ack_ignored),
        FindingId::ChallengeAck => in_file!(challenge_ack),
        FindingId::SynAckSlow => in_file!(syn_ack_slow),
        FindingId::ServerReverseLookup => in_file!(server_reverse_lookup),
        FindingId::ConnectRefused => in_file!(connect_refused),
        FindingId::HostUnreachable => in_file!(host_unreachable),
        FindingId::AddressFallback => in_file!(address_fallback),
        FindingId::NeverConnected => in_file!(never_connected),
        FindingId::IoUring => in_file!(io_uring),
        FindingId::ArpUnanswered => in_file!(arp_unanswered),
        FindingId::MulticastLookup => in_file!(multicast_lookup),
        FindingId::Quic => in_file!(quic),
        FindingId::EncryptedDns => in_file!(encrypted_dns),
        FindingId::CaptureIncomplete => in_file!(capture_incomplete),
        FindingId::NothingWrong => (nothing_wrong::PAGE, None),
    }
}

/// What holds of a finding in every case.
pub fn page(id: FindingId) -> Page {
    definition(id).0
}

/// Findings of one kind that a report holds; a case with more has them all for one reason.
pub const MAX_OF_A_KIND: usize = 20;

/// The pages of all findings.
pub fn pages() -> impl Iterator<Item = Page> {
    FindingId::ALL.iter().map(|id| page(*id))
}

/// Draws all conclusions, in order of the seconds they cost, then of severity.
pub fn all(case: &Case, accounts: &[Account]) -> Vec<Finding> {
    let context = Context { case, accounts };
    let mut drafts: Vec<Draft> = Vec::new();
    for find in FindingId::ALL.iter().filter_map(|id| definition(*id).1) {
        let mut some = find(&context);
        some.sort_by_key(rank);
        drafts.append(&mut group::fold(some));
    }
    for draft in &mut drafts {
        draft.severity = cost::by_seconds(draft.severity, draft.total.max(draft.cost));
    }
    coverage::hedge(case, &mut drafts);
    let nothing = nothing_wrong::find(&context, &drafts);
    drafts.extend(nothing);
    drafts.sort_by_key(rank);
    let same = group::same_seconds(&drafts);
    drafts
        .into_iter()
        .zip(same)
        .map(|(draft, same_seconds_as)| Finding {
            report: report::Finding {
                same_seconds_as,
                ..write(case, &draft)
            },
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
        id: draft.id,
        severity: draft.severity,
        subject: draft.subject.map(|s| match s {
            Subject::Connection(c) => cite::connection_id(c),
            Subject::Lookup(l) => cite::lookup_id(l),
        }),
        parties: draft.parties.clone(),
        title: draft.title.clone(),
        detail: draft.detail.clone(),
        seconds: draft
            .cost
            .filter(|c| *c > Span::ZERO)
            .and_then(|c| cite::known(case, c)),
        total_seconds: draft.total.and_then(|t| cite::known(case, t)),
        same_seconds_as: None,
        remedy: draft.remedy.clone(),
        callers: stack::callers(case, draft.evidence.iter().copied()),
        calls,
        packets,
    }
}

#[cfg(test)]
mod tests;
