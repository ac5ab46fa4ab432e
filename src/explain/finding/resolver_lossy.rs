//! A resolver that answers some queries and leaves others.

use super::{Context, Draft, FindingId, Page, cost, parties, stub_upstream_silent, tally};
use crate::event::dns::{Name, RecordType};
use crate::explain::ledger::{ChargedParty, Kind};
use crate::explain::words;
use crate::flow;
use crate::join::Query;
use std::collections::HashSet;

/// What `presyn explain resolver-lossy` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverLossy,
    rests_on_absence: true,
    in_summary: false,
    text: "A resolver answered some queries and did not answer others.

The server works, but now and then a query or its answer is lost. UDP is not
repeated by the network: the client waits until its own timer runs out, 5 s with
glibc's defaults, and asks again. A loss of one packet in a hundred is one lookup
in fifty that takes 5 s longer, since most lookups ask A and AAAA.

presyn says this when the same resolver answered other queries in time. It does not
when one record type alone is left out (aaaa-silent), when the answer came late
(answer-late), or when the server is a stub on this host whose own upstream was
silent (stub-upstream-silent).

What to do: capture on the server's side and see which half is lost, the query or
the answer. Usual causes: an overloaded server, rate limiting, a full connection
tracking table in a firewall between, packet loss on the link, two packets with
one source port racing through NAT (then 'options single-request-reopen' helps).
'options timeout:1' makes each loss cost 1 s instead of 5 s.",
};

/// Finds lossy resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let stubs = stub_upstream_silent::explained(case);
    let tallies = tally::resolvers(case);
    let mut list = Vec::new();
    for t in &tallies {
        let stub = stubs
            .iter()
            .any(|s| s.party == ChargedParty::Endpoint(t.resolver));
        if stub || t.in_time().count == 0 || t.late().count > 0 {
            continue;
        }
        let typed = t.one_type_silent();
        let typed: HashSet<(Name, Option<RecordType>)> = typed
            .iter()
            .flat_map(|(_, list)| list.iter().map(|q| asked(q)))
            .collect();
        // After a truncated answer the client turns to TCP and need not read the other one.
        let cut: HashSet<Name> = t
            .queries
            .iter()
            .filter(|q| q.answer().is_some_and(|a| a.truncated))
            .map(|q| q.question.name.folded())
            .collect();
        let silent = t.silent();
        let lost: Vec<&Query> = { silent.retained.iter().copied() }
            .filter(|q| !typed.contains(&asked(q)) && !cut.contains(&q.question.name.folded()))
            .collect();
        if lost.is_empty() {
            continue;
        }
        let found = cost::of(context, |line| {
            line.kind == Kind::ResolverSilent && line.concerns(&[t.resolver])
        });
        let name = words::resolver(t.resolver);
        let answered = t.answered().count;
        let left = silent.count - (silent.retained.len() - lost.len());
        let asked = answered + silent.count;
        let (other, count) = match answered {
            1 => ("The other one was".to_owned(), " one".to_owned()),
            n => (format!("The other {n} were"), format!(" {n}")),
        };
        let draft = Draft {
            id: PAGE.id,
            severity: cost::severity(found.span, t.lookup_failed()),
            subject: found.subject,
            parties: parties::resolvers([t.resolver]),
            title: format!("{name} did not answer {left} of {asked} queries"),
            detail: format!(
                "{}: {}, about {}.{}{}",
                if flow::unreadable(t.resolver.ip).is_some() {
                    format!(
                        "{other} answered in time, by it or by another host of the same name in the log"
                    )
                } else {
                    format!(
                        "It answered the other{count} in time, so it is up, but queries or answers get lost"
                    )
                },
                tally::count_and_types(&lost, left),
                tally::names(&lost),
                match &*cost::shared_with(context, t.resolver) {
                    [] => words::waited(found.span),
                    others => words::asked_at_once(others),
                },
                tally::assumed(case, lost.iter().copied())
            ),
            cost: found.span,
            total: found.total,
            remedy: Some(if t.resolver.ip.is_loopback() {
                "It is a stub on this host: check the resolvers that it asks (resolvectl status; server= of dnsmasq)."
                    .into()
            } else {
                format!(
                    "Capture at {} to see whether the query or the answer is lost (load, rate limit, firewall, \
                     link). Until then {} shortens what a loss costs.",
                    words::placed(case, t.resolver.ip),
                    words::shorter_wait(case, "options timeout:1")
                )
            }),
            evidence: tally::evidence(lost),
        };
        list.push(draft);
    }
    list
}

/// What a query asks, whatever the case of the name.
fn asked(q: &Query) -> (Name, Option<RecordType>) {
    (q.question.name.folded(), q.question.kind)
}
