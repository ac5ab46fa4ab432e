//! A resolver whose answers come when the client has given up.

use super::stub_upstream_silent::{explained, is_explained};
use super::{Context, Draft, FindingId, Page, Statement, cost, tally};
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::time::Span;

/// What `presyn explain answer-late` shows.
pub const PAGE: Page = Page {
    id: FindingId::AnswerLate,
    rests_on_absence: false,
    in_summary: false,
    text: "A resolver answered, but after the client had stopped waiting for it.

The answer reached this host while the client already waited for another resolver (or
for the next try). Some clients read it when they return to that socket, others have
closed the socket and answer with ICMP port unreachable. To the client the resolver is
as good as silent; the resolver itself sees no fault.

presyn compares the time of the answer with the moment when the client asked again,
asked elsewhere, or its wait timed out.

What to do: find out what the resolver waits for (its forwarders, the domain's
authoritative servers; dig +trace); make it answer faster than the client's timeout,
or put a faster resolver first. A longer 'options timeout:N' in resolv.conf only helps
where there is no other resolver to turn to.",
};

/// Finds late resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let stubs = explained(case);
    let mut list = Vec::new();
    for t in &tally::resolvers(case) {
        let tally::SomeQueries {
            retained: late,
            count,
        } = t.late();
        let stub = is_explained(&stubs, t.resolver);
        let longest: Option<(Span, Span)> = late
            .iter()
            .filter_map(|q| q.answer().map(|a| (a.at - q.sent, q.waited())))
            .max();
        let Some((took, gave_up)) = longest.filter(|_| !stub) else {
            continue;
        };
        let found = cost::of_parties(context, &[Kind::ResolverSilent], &[t.resolver]);
        let name = words::resolver(t.resolver);
        let said = Statement {
            title: format!(
                "{name} answered after {}, when the client had {} after {}",
                context.case.took(took),
                if case.evidence.has_trace() {
                    "given up"
                } else {
                    "asked again or gone on"
                },
                context.case.took(gave_up)
            ),
            detail: format!(
                "{} of {} came too late, about {}: the resolver works, but slowly.{}",
                words::counted(count, "answer", "answers"),
                t.answered().count,
                tally::names(&late),
                words::waited(found.span)
            ),
            remedy: format!(
                "Find out what {} waits for (its forwarders, the domain's authoritative servers: dig +trace), or put \
                 a faster resolver first in resolv.conf.",
                words::placed(case, t.resolver.ip)
            ),
            evidence: tally::evidence(late),
        };
        list.push(t.conclude(PAGE.id, found, said));
    }
    list
}
